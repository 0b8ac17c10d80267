#!/bin/sh
# Makes what a small virtual machine boots from, in .runtime/vm: the kernel that Debian has for clouds, and a root of busybox and the
# modules of its network card. Done once for each version of the kernel; some 30 MB to download, and QEMU is installed if it is missing. Needs root and apt-get.
set -eu

cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
target=.runtime/vm
[ "$(uname -m)" = x86_64 ] || { echo "vm-image.sh: it is made for x86_64 alone" >&2; exit 1; }

if ! command -v qemu-system-x86_64 >/dev/null; then
  echo "vm-image.sh: installing the Debian package qemu-system-x86" >&2
  install="apt-get install -y --no-install-recommends qemu-system-x86"
  export DEBIAN_FRONTEND=noninteractive
  $install >&2 || { apt-get update >&2 && $install >&2; }
fi

# The package that stands for whichever is the newest depends on it.
find_package() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1; }
package=$(find_package)
[ -n "$package" ] || { apt-get update >&2 && package=$(find_package); }
[ -n "$package" ] || { echo "vm-image.sh: Debian's archive has no linux-image-cloud-amd64" >&2; exit 1; }
# What this script says now, so that another image than that of an earlier version is made.
wanted="$package $(cksum <"scripts/vm-image.sh")"
[ "$(cat "$target/made-of" 2>/dev/null)" != "$wanted" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Neither is installed: this machine has a kernel, and perhaps another busybox.
echo "vm-image.sh: downloading $package and busybox-static" >&2
(cd "$work" && apt-get download "$package" busybox-static >&2 && for each in ./*.deb; do dpkg-deb -x "$each" unpacked; done)
modules=$work/unpacked/lib/modules
[ -d "$modules" ] || modules=$work/unpacked/usr/lib/modules
root=$work/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/www"
busybox=$work/unpacked/bin/busybox
[ -x "$busybox" ] || busybox=$work/unpacked/usr/bin/busybox
cp "$busybox" "$root/bin/busybox"
for applet in sh mount insmod ip cat echo sleep httpd nc udhcpc udhcpc6 ping poweroff hostname sed; do
  ln -s busybox "$root/bin/$applet"
done
# In this order.
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
  cp "$(find "$modules" -name "$module.ko")" "$root/"
  echo "$module" >>"$root/modules"
done
# ADDRESS/LENGTH, comma-separated, and the MTU come by the kernel's command line; without, the machine asks by DHCP, which tells its MTU, too.
cat >"$root/configure" <<'CONFIGURE'
#!/bin/sh
[ "$1" = bound ] || exit 0
[ -z "$mtu" ] || ip link set eth0 mtu "$mtu"
ip addr add "$ip/$mask" dev eth0
[ -z "$router" ] || ip route add default via "$router"
echo "$hostname" >/proc/sys/kernel/hostname
echo "nameserver $dns" >/resolv.conf
CONFIGURE
chmod +x "$root/configure"
cat >"$root/init" <<'INIT'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/$module.ko"; done </modules
word() { sed -n "s/.*weft\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
ip link set lo up
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
[ -z "$(word mtu)" ] || ip link set eth0 mtu "$(word mtu)"
ip link set eth0 up
[ -n "$(word addresses)" ] || udhcpc -q -i eth0 -O mtu -s /configure
for address in $(word addresses | sed 's/,/ /g'); do ip addr add "$address" dev eth0; done
echo "a machine" >/www/index.html
httpd -h /www
nc -ll -p 7 -e cat &
echo "the machine is ready"
exec sh
INIT
chmod +x "$root/init"
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip >"$work/initrd"
mkdir -p "$target"
cp "$work"/unpacked/boot/vmlinuz-* "$target/kernel"
cp "$work/initrd" "$target/initrd"
echo "$wanted" >"$target/made-of"
