#!/bin/sh
# Runs the project's Node.js: the runtime that setup.sh put into .runtime, else a new enough `node` of the PATH.
set -eu

oldest=24
root=$(cd "$(dirname "$0")/.." && pwd)

for node in "$root"/.runtime/node_modules/node-linux-*/bin/node; do
  [ -x "$node" ] && exec "$node" "$@"
done

version=$(node --version 2>/dev/null) || version=none
major=${version#v}
major=${major%%.*}
case $major in
  '' | *[!0-9]*) ;;
  *) [ "$major" -ge "$oldest" ] && exec node "$@" ;;
esac

echo "weft: start: it needs Node.js $oldest or newer; found: $version" >&2
if [ -f "$root/scripts/setup.sh" ]; then
  echo "  try: $root/scripts/setup.sh" >&2
else
  echo "  try: put a newer node first in the PATH" >&2
fi
exit 1
