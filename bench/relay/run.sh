#!/bin/sh
# coturn and callgate side by side; see bench/README.md. Arguments go to the bench program.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
command -v turnserver >/dev/null || { echo "needs Debian's coturn: apt install coturn" >&2; exit 1; }
cargo build --release --quiet --manifest-path ../../Cargo.toml --bin callgate
cargo build --release --quiet
exec target/release/relay-bench "$@"
