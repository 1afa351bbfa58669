# `make test` is the one command: it installs what is missing (Debian, root), then builds and tests everything.
.PHONY: build test setup lint fmt deny deb bench fuzz clean

build:
	cargo build --release --locked

test: setup
	node tests/run.mjs

# One stage alone, e.g. `make test-lab`; the names are in tests/run.mjs.
test-%: setup
	node tests/run.mjs $*

setup:
	sh tests/setup.sh

lint:
	cargo clippy --locked --all-targets -- -D warnings

fmt:
	cargo fmt

deny:
	cargo deny --offline check licenses bans sources

deb:
	packaging/deb/build.sh

bench: build
	bench/run.sh

fuzz:
	sh tests/fuzz.sh 300

clean:
	cargo clean
	rm -rf artifacts tests/e2e/node_modules
