#!/bin/sh
# The comparisons, and the store, one after the other; see bench/README.md. Nothing else should run meanwhile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
"$here/relay/run.sh"
"$here/signaling/run.sh"
"$here/store/run.sh"
