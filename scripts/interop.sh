#!/bin/sh
# Brings the engines and machine managers that test/interop runs, from Debian, and what cloud-init needs. Says what it installs. No
# service is started or enabled that Debian does not.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
for package in podman:podman conmon:conmon containerd:containerd runc:runc docker.io:dockerd busybox-static:busybox \
  libvirt-daemon-system:virsh systemd-container:systemd-nspawn lxc:lxc-start; do
  command -v "${package#*:}" >/dev/null || missing="$missing ${package%:*}"
done
for package in configobj jinja2 jsonpatch jsonschema netifaces oauthlib requests serial yaml; do
  dpkg-query -W -f '${db:Status-Status}' "python3-$package" 2>/dev/null | grep -qx installed || missing="$missing python3-$package"
done
[ -n "$missing" ] || exit 0
install="apt-get install -y --no-install-recommends$missing"
echo "interop: installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the command is split into words on purpose
$install >/dev/null 2>&1 || { apt-get update >/dev/null && $install >/dev/null; }
