#!/bin/sh
# Compiles the programs at endpoint ports, src/dataplane/programs/*.c, with Debian's clang 14: to the objects beside them, which are part
# of the sources, so that nobody needs a compiler to run weft; or into the folder that is named.
set -eu

cd "$(dirname "$0")/../src/dataplane/programs"
if ! command -v clang-14 >/dev/null || [ ! -e /usr/include/linux/bpf.h ]; then
  echo "programs.sh: installing clang-14 and linux-libc-dev"
  install="apt-get install -y --no-install-recommends clang-14 linux-libc-dev"
  export DEBIAN_FRONTEND=noninteractive
  $install >/dev/null || { apt-get update >/dev/null && $install >/dev/null; }
fi
for program in *.c; do
  clang-14 -target bpfel -O2 -Wall -Werror -Wno-unused-function \
    -I"/usr/include/$(uname -m)-linux-gnu" -c "$program" -o "${1:-.}/${program%.c}.o"
done
