#!/usr/bin/env bash
# Measures an instance over HTTP, and prints one line for each figure:
#   scripts/bench_http.sh [SECONDS] [SCENARIO...]
# Without arguments: loads of 5 seconds, all scenarios (limits, deliver, publish, read, start, idle, overload).
# Latencies are in microseconds; in lines with `offered_per_s` they count from when a request was due. cpu_us is
# processor time of the instance for each request that was taken, settled_cpu_us until whatever follows the log has
# caught up, too; client_cpu_us is what the load generator took; the shares of `overload` are of the mean of the
# capacities found before and afterwards, and of each, since the log grows meanwhile. The limits per address and peer are off
# (--requests-per-second 0, --actor-requests-per-second 0, --peer-deliveries-per-second 0): all comes from one address.
# BENCH_BIN is a directory with `bench_http`, `bench_log` and `fedsx`; without it they are built (release).
# BENCH_ACTORS=10000 makes a log with so many actors for `idle`; 0 leaves that out. TMPDIR is the disk that is measured.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ -z ${BENCH_BIN:-} ]]; then
  (cd "$ROOT" && cargo build --quiet --release --bin fedsx --example bench_http --example bench_log)
  target=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
  BENCH_BIN=$work/bin
  mkdir "$BENCH_BIN"
  cp "$target/release/fedsx" "$target/release/examples/"bench_{http,log} "$BENCH_BIN/"
fi
# Each connection of the load is a file on both sides.
ulimit -n "$(ulimit -Hn)"
seconds=${1:-5}
shift || true
if [[ ${BENCH_ACTORS:-10000} != 0 ]] && { [[ $# == 0 ]] || [[ " $* " == *' idle '* ]]; }; then
  "$BENCH_BIN/bench_log" "$work/actors" "${BENCH_ACTORS:-10000}" "${BENCH_ACTORS:-10000}" >"$work/log"
  export BENCH_ACTORS_DIR=$work/actors
fi
printf 'machine cores=%s load=%s commit=%s\n' "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
  "$(git -C "$ROOT" rev-parse --short HEAD)"
"$BENCH_BIN/bench_http" "$BENCH_BIN/fedsx" "$seconds" "$@"
printf 'machine load=%s\n' "$(cut -d' ' -f1 /proc/loadavg)"
