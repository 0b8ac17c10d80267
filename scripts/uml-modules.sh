#!/bin/sh
# Debian's User-Mode Linux has nftables for bridges only. From Debian's source of the very same kernel this builds the
# modules of nftables with the families inet, ip and ip6, beside links to all other modules: .runtime/uml-modules, where
# uml.sh finds them. Done once for each version of the kernel: half a minute, and 140 MB to download. Needs root and
# apt-get; compiler and tools are installed if they are missing.
set -eu

cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
release=$(linux.uml --version)
target=.runtime/uml-modules/lib/modules/$release
# What this script says now, so that other modules than those of an earlier version are built.
wanted=$(cksum <"scripts/uml-modules.sh")
[ "$(cat "$target/built-by" 2>/dev/null)" != "$wanted" ] || exit 0

missing=
# The compiler alone brings no headers of the C library; gencat comes with them.
for package in gcc:gcc libc6-dev:gencat make:make flex:flex bison:bison bc:bc xz-utils:xz; do
  command -v "${package#*:}" >/dev/null || missing="$missing ${package%:*}"
done
if [ -n "$missing" ]; then
  install="apt-get install -y --no-install-recommends$missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086 # the command is split into words on purpose
  $install || { apt-get update && $install; }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

source=linux-source-${release%.*}
find_version() { apt-cache madison "$source" | sed -n "s/^[^|]*| *\($release-[^ ]*\) .*/\1/p" | head -n 1; }
version=$(find_version)
[ -n "$version" ] || { apt-get update && version=$(find_version); }
[ -n "$version" ] || { echo "uml-modules.sh: Debian's archive has no $source of version $release" >&2; exit 1; }
(cd "$work" && apt-get download "$source=$version")
# Nothing of the drivers, sounds and file systems is compiled; their configuration is read.
dpkg-deb --fsys-tarfile "$work/$source"_*.deb | tar -x -O "./usr/src/$source.tar.xz" | tar -x -J -C "$work" \
  --exclude='*/drivers/*.[ch]' --exclude='*/sound/*.[ch]' --exclude='*/fs/*.c' --exclude='*/dts/*' --exclude='*/tools/testing/*'
cd "$work/$source"
{
  linux.uml --showconfig | grep -v -E '(NF_TABLES_(INET|IPV4|IPV6)|NFT_(NAT|REJECT_INET|FIB_(INET|IPV4|IPV6))) is not set'
  echo "CONFIG_NF_TABLES_INET=y CONFIG_NF_TABLES_IPV4=y CONFIG_NF_TABLES_IPV6=y CONFIG_NFT_NAT=m CONFIG_NFT_REJECT_INET=m CONFIG_NFT_FIB_INET=m CONFIG_NFT_FIB_IPV4=m CONFIG_NFT_FIB_IPV6=m" | tr ' ' '\n'
} >.config
make ARCH=um olddefconfig
make ARCH=um -j2 modules_prepare
: >Module.symvers
# The kernel's own symbols are known when the modules are loaded, not here: hence the warnings.
build() {
  folder=$1
  shift
  make ARCH=um KBUILD_MODPOST_WARN=1 -j2 "M=$folder" "$@"
}
build net/netfilter nf_tables.ko nf_nat.ko nft_chain_nat.ko nft_nat.ko nft_masq.ko nft_redir.ko nft_ct.ko nft_log.ko \
  nft_reject.ko nft_reject_inet.ko nft_fib.ko nft_fib_inet.ko
build net/ipv4/netfilter nft_reject_ipv4.ko nft_fib_ipv4.ko
build net/ipv6/netfilter nft_reject_ipv6.ko nft_fib_ipv6.ko
cd - >/dev/null

rm -rf "$target"
mkdir -p "$target/updates"
find "$work/$source/net" -name '*.ko' -exec cp {} "$target/updates" \;
strip --strip-debug "$target"/updates/*.ko
cp -a -s "/usr/lib/uml/modules/$release/kernel" "$target"
for list in order builtin builtin.modinfo; do cp "/usr/lib/uml/modules/$release/modules.$list" "$target"; done
depmod -b .runtime/uml-modules "$release"
echo "$wanted" >"$target/built-by"
