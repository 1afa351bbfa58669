#!/bin/sh
# Installs what the tests need and is not there yet. Debian 12, root; Rust, node and npm are taken as given.
set -eu
cd "$(dirname "$0")/.."

fail() { echo "setup: $*" >&2; exit 1; }

for tool in cargo node npm python3; do
  command -v $tool >/dev/null || fail "$tool is missing"
done
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || fail "node 20 or newer is needed"
[ "$(id -u)" = 0 ] || fail "root is needed: the tests make network namespaces and install a package in a container"

missing=""
for package in build-essential chromium coturn curl fonts-liberation iproute2 libnss3-tools lintian mmdebstrap nftables nginx-light openssl procps sqlite3 systemd-container; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' $package 2>/dev/null)" = installed ] || missing="$missing $package"
done
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
  echo "setup: installing$missing"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq -o Acquire::Retries=3
  apt-get install -y -qq -o Acquire::Retries=3 --no-install-recommends $missing >/dev/null
fi

cargo deb --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deb --version 3.8.0

(cd tests/e2e && npm ci --silent --no-audit --no-fund)

venv=target/venv
if ! cmp -s tests/interop/requirements.txt $venv/requirements.txt; then
  rm -rf $venv
  python3 -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt
  cp tests/interop/requirements.txt $venv/requirements.txt
fi

unshare --net true || fail "this machine lets nobody make network namespaces; the NAT lab cannot run"
