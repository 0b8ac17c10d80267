#!/bin/sh
# Types, format and lint, layers, unused code, shell scripts. All of them run, whatever the first ones say.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=

# check NAME COMMAND...
check() {
  name=$1
  shift
  if "$@"; then
    echo "check: $name: passed"
  else
    echo "check: $name: FAILED"
    failed="$failed $name"
  fi
}

check types scripts/node.sh node_modules/.bin/tsc -p .
check format-and-lint scripts/node.sh node_modules/.bin/biome check --error-on-warnings
check layers scripts/node.sh --test --test-reporter=dot test/layers.test.ts
check unused scripts/node.sh node_modules/.bin/knip --no-progress
if command -v shellcheck >/dev/null; then
  check shell shellcheck bin/weft .ci/run scripts/*.sh
else
  echo "check: shell: not run, shellcheck is not installed"
fi

[ -z "$failed" ] || { echo "check: failed:$failed"; exit 1; }
