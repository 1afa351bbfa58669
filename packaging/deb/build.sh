#!/usr/bin/env bash
# Builds the Debian package and prints its path. Arguments go to cargo-deb (--no-build: take the release binary as it is).
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=3.8.0
have=$(cargo deb --version 2>/dev/null | awk '{ print $NF }') || true
if [ -z "${have:-}" ]; then
    echo "cargo-deb is missing: cargo install cargo-deb --version $wanted --locked" >&2
    exit 1
fi
# postinst puts the generated secret into this line.
if ! grep -q '^secrets = \[\]' config/callgate.toml; then
    echo "config/callgate.toml has no line 'secrets = []': packaging/deb/postinst could not write a secret" >&2
    exit 1
fi
version=$(cargo pkgid | sed 's/.*[#@]//')
if [ "$(sed -n '1s/.*(\(.*\)).*/\1/p' packaging/deb/changelog)" != "$version-1" ]; then
    echo "packaging/deb/changelog does not begin with version $version-1" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/release"
node packaging/third-party.mjs | gzip -9n >"$target/release/third-party.txt.gz"

deb=$(cargo deb --locked "$@" | tail -n 1)
echo "$deb"
