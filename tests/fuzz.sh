#!/bin/sh
# Runs every fuzz target for some seconds: tests/fuzz.sh SECONDS. A line "ok TARGET" or "not ok TARGET" each.
set -u
cd "$(dirname "$0")/.."
# cargo-fuzz wants a nightly compiler's flags; the stable one has them too.
export RUSTC_BOOTSTRAP=1
failed=0
for file in fuzz/fuzz_targets/*.rs; do
  target=$(basename "$file" .rs)
  if cargo fuzz run "$target" -- -max_total_time="$1" -rss_limit_mb=4096 -verbosity=0 -print_final_stats=1; then
    echo "ok $target"
  else
    echo "not ok $target"
    failed=1
  fi
done
exit $failed
