#!/bin/sh
# Signaling against a plain Node socket.io server: CPU per connection, join and relayed event, memory per connection.
# Both take turns in one run, the server on one core, the load on another. Needs node 20, taskset, two cores.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ -d "$root/tests/e2e/node_modules/ws" ] || (cd "$root/tests/e2e" && npm install --no-audit --no-fund)
if [ -z "${CALLGATE:-}" ]; then
    (cd "$root" && cargo build --release --quiet)
    CALLGATE=$root/target/release/callgate
fi
export CALLGATE
# The packages live with the end-to-end tests; modules are looked for beside the importing file.
[ -e "$here/node_modules" ] || ln -s ../../tests/e2e/node_modules "$here/node_modules"
exec taskset -c "${LOAD_CORE:-1}" node "$here/bench.mjs"
