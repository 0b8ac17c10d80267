#!/bin/sh
# Compiles what container runtimes execute, src/plugins/cni/plugin.c, with Debian's clang 14 for each processor that weft runs on: to
# the programs beside it, which are part of the sources, so that nobody needs a compiler to run weft; or into the folder that is named.
set -eu

cd "$(dirname "$0")/../src/plugins/cni"
if ! command -v clang-14 >/dev/null || ! command -v ld.lld-14 >/dev/null; then
  echo "plugin.sh: installing clang-14 and lld-14"
  install="apt-get install -y --no-install-recommends clang-14 lld-14"
  export DEBIAN_FRONTEND=noninteractive
  $install >/dev/null || { apt-get update >/dev/null && $install >/dev/null; }
fi
# The names of processors are those of Node.js.
for processor in x64:x86_64 arm64:aarch64; do
  clang-14 --target="${processor#*:}-linux-gnu" -fuse-ld=lld-14 -nostdlib -static -ffreestanding -fno-builtin -fno-stack-protector \
    -fno-asynchronous-unwind-tables -Os -Wall -Wextra -Werror -Wl,--build-id=none,-z,noseparate-code,-s \
    plugin.c -o "${1:-.}/plugin-${processor%:*}"
done
