#!/bin/sh
# Brings the engines that test/interop runs, from Debian. Says what it installs.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
for package in podman:podman conmon:conmon containerd:containerd runc:runc docker.io:dockerd busybox-static:busybox; do
  command -v "${package#*:}" >/dev/null || missing="$missing ${package%:*}"
done
[ -n "$missing" ] || exit 0
install="apt-get install -y --no-install-recommends$missing"
echo "interop: installing Debian packages:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the command is split into words on purpose
$install >/dev/null 2>&1 || { apt-get update >/dev/null && $install >/dev/null; }
