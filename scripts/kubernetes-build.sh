#!/bin/sh
# Brings what test/kubernetes runs. Programs of Kubernetes 1.20.2 are built from Debian's own source of it with Debian's own Go, etcd is
# unpacked from its package: both into ~/.cache/weft-kubernetes, neither is installed. Done once: a quarter of an hour, 300 MB
# to download. containerd and what else kubelet and kube-proxy call are installed if they are missing. Needs root and apt-get.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin
target=${XDG_CACHE_HOME:-$HOME/.cache}/weft-kubernetes
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"
say() { echo "kubernetes-build.sh: $*" >&2; }
[ "$(uname -m)" = x86_64 ] || { say "it is made for x86_64 alone"; exit 1; }

missing=
for package in containerd:containerd runc:runc conntrack:conntrack iptables:iptables curl:curl busybox-static:busybox dnsmasq-base:dnsmasq netcat-openbsd:nc.openbsd; do
  command -v "${package#*:}" >/dev/null || missing="$missing ${package%:*}"
done
# Its programs are in no folder of the PATH.
[ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
if [ -n "$missing" ]; then
  install="apt-get install -y --no-install-recommends$missing"
  say "installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # the command is split into words on purpose
  $install >/dev/null 2>&1 || { apt-get update >/dev/null && $install >/dev/null; }
fi

# What this script says now, so that other programs than those of an earlier version are built.
wanted=$(cksum <"$here/kubernetes-build.sh")
if [ "$(cat "$target/built-by" 2>/dev/null)" != "$wanted" ]; then
  # Stays when something fails: what was downloaded and compiled need not be again.
  work=$target/work
  mkdir -p "$work/lists/partial" "$work/packages" "$target/bin"
  cd "$work"

  # Package lists of its own: those of the machine stay as they are, and may be of another release.
  for type in deb deb-src; do
    echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main"
  done >sources.list
  apt_here() {
    apt-get -q -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists" \
      -o APT::Sandbox::User=root "$@"
  }
  if [ ! -e unpacked ]; then
    say "downloading the sources of Kubernetes, Go and etcd into $work"
    apt_here update >&2
    (cd packages && apt_here download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server >&2 &&
      apt_here source --download-only kubernetes >&2)
    for package in packages/*.deb; do dpkg-deb -x "$package" debian; done
    mkdir -p gopath/src/k8s.io/kubernetes
    tar -xzf packages/kubernetes_*.orig.tar.gz --strip-components=1 -C gopath/src/k8s.io/kubernetes
    # The reflect2 that comes with it calls functions of Go's runtime as they were before Go 1.18: all would build, and the API server die.
    reflect2=modern-go/reflect2
    rm -r "gopath/src/k8s.io/kubernetes/vendor/github.com/$reflect2"
    cp -R "debian/usr/share/gocode/src/github.com/$reflect2" "gopath/src/k8s.io/kubernetes/vendor/github.com/$reflect2"
    cp debian/usr/bin/etcd "$target/bin/"
    touch unpacked
  fi

  export PATH="$work/debian/usr/lib/go-1.19/bin:$PATH" GOROOT="$work/debian/usr/lib/go-1.19" GOPATH="$work/gopath" GOCACHE="$work/compiled" \
    GO111MODULE=off CGO_ENABLED=0 GOFLAGS=-tags=providerless,dockerless
  cd gopath/src/k8s.io/kubernetes
  openapi=pkg/generated/openapi/zz_generated.openapi.go
  if [ ! -e "$openapi" ]; then
    say "generating $openapi"
    go build -o "$work/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
    folders=$(grep -rl --include='*.go' '^// *+k8s:openapi-gen=' pkg staging/src/k8s.io vendor/k8s.io/ | xargs -n1 dirname | sort -u |
      grep -vE 'kube-openapi|code-generator|sample-|/test' |
      sed -E 's#^staging/src/#k8s.io/kubernetes/vendor/#; s#^(pkg|vendor)/#k8s.io/kubernetes/\1/#' | paste -sd,)
    "$work/openapi-gen" -O zz_generated.openapi --go-header-file hack/boilerplate/boilerplate.generatego.txt --output-base "$GOPATH/src" \
      --output-package k8s.io/kubernetes/pkg/generated/openapi --input-dirs "$folders" --report-filename "$work/openapi.report" >&2
  fi
  version="-s -w"
  for package in component-base/version client-go/pkg/version; do
    for word in gitMajor=1 gitMinor=20 gitVersion=v1.20.2 gitTreeState=clean buildDate=2021-01-13T00:00:00Z; do
      version="$version -X k8s.io/kubernetes/vendor/k8s.io/$package.$word"
    done
  done
  for program in $programs; do
    say "building $program"
    go build -ldflags "$version" -o "$target/bin/$program" "k8s.io/kubernetes/cmd/$program"
  done
  say "building agnhost and e2e.test, the published cases of conformance"
  go build -ldflags "$version" -o "$target/bin/agnhost" k8s.io/kubernetes/test/images/agnhost
  # Manifests that some cases read are compiled in elsewhere; those of the network need none.
  cat >test/e2e/generated/bindata.go <<'GO'
package generated

import "os"

func Asset(name string) ([]byte, error) { return nil, os.ErrNotExist }

func AssetNames() []string { return nil }
GO
  # It knows the clouds that the programs above do without.
  GOFLAGS=-tags=dockerless go test -c -ldflags "$version" -o "$target/bin/e2e.test" k8s.io/kubernetes/test/e2e
  cd "$target"
  rm -rf "$work"
  echo "$wanted" >built-by
fi
