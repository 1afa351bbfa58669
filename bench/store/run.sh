#!/bin/sh
# How long a start takes with many stored rooms, and what a write costs. See bench/README.md.
#
#   bench/store/run.sh [ROOMS]      100000 unless said otherwise
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
rooms=${1:-100000}
if [ -z "${CALLGATE:-}" ]; then
  (cd "$root" && cargo build --release --locked --quiet)
  CALLGATE=$root/target/release/callgate
fi
export CALLGATE
node "$here/start.mjs" "$rooms"
node "$here/write.mjs"
