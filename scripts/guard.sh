#!/bin/sh
# Compiles the guard of endpoint ports, src/dataplane/guard/guard.c, with Debian's clang 14: to guard.o beside it, which is part of
# the sources, so that nobody needs a compiler to run weft; or to the file that is named.
set -eu

cd "$(dirname "$0")/../src/dataplane/guard"
if ! command -v clang-14 >/dev/null || [ ! -e /usr/include/linux/bpf.h ]; then
  echo "guard.sh: installing clang-14 and linux-libc-dev"
  install="apt-get install -y --no-install-recommends clang-14 linux-libc-dev"
  export DEBIAN_FRONTEND=noninteractive
  $install >/dev/null || { apt-get update >/dev/null && $install >/dev/null; }
fi
clang-14 -target bpfel -O2 -Wall -Werror -Wno-unused-function \
  -I"/usr/include/$(uname -m)-linux-gnu" -c guard.c -o "${1:-guard.o}"
