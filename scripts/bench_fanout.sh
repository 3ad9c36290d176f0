#!/usr/bin/env bash
# Measures sending to many instances, and prints one line for each figure:
#   scripts/bench_fanout.sh [SINKS] [NOTES] [DELAY_MS]
# Without numbers: 100 sinks, 20 notes, sinks that answer at once. With one sink each note is changed once, and out_of_order
# tells how often what concerns one object came in another order. First what one thread of this machine signs in a second, then sends
# per second to sinks that take draft-cavage with RSA and to sinks that take RFC 9421 with Ed25519.
# BENCH_BIN is a directory with `bench_fanout` and `fedsx`; without it both are built (release).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
if [[ -z ${BENCH_BIN:-} ]]; then
  (cd "$ROOT" && cargo build --quiet --release --bin fedsx --example bench_fanout)
  target=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
  BENCH_BIN=$(mktemp -d)
  trap 'rm -rf "$BENCH_BIN"' EXIT
  cp "$target/release/fedsx" "$target/release/examples/bench_fanout" "$BENCH_BIN/"
fi
# Each sink is a socket that listens, and connections.
ulimit -n "$(ulimit -Hn)"
printf 'machine cores=%s load=%s commit=%s\n' "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
  "$(git -C "$ROOT" rev-parse --short HEAD)"
"$BENCH_BIN/bench_fanout" "$BENCH_BIN/fedsx" "${1:-100}" "${2:-20}" "${3:-0}"
