#!/usr/bin/env bash
# Measures a log of one machine, and prints one line for each figure:
#   scripts/bench_log.sh [ACTIVITIES] [ACTORS] [DIR]
# Without numbers: 1000000 activities by 1000 actors. DIR is made, and kept where it is named.
# Appends (rate, processor time, size on disk), folds, a rebuild of all projections, then with the
# program itself: the first start, a start, memory while idle, and `fedsx verify`.
# BENCH_BIN is a directory with `bench_log` and `fedsx`; without it both are built (release).
# BENCH_VERIFY=0 leaves `fedsx verify` out: it takes long, and keeps the projections in memory.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

activities=${1:-1000000} actors=${2:-1000}
need_tools
if [[ -z ${BENCH_BIN:-} ]]; then
  (cd "$ROOT" && cargo build --quiet --release --bin fedsx --example bench_log)
  target=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
  BENCH_BIN=$(mktemp -d)
  cp "$target/release/fedsx" "$target/release/examples/bench_log" "$BENCH_BIN/"
fi
directory=${3:-$(mktemp -d)}
mkdir -p "$directory"
data=$directory/data
server=
finish() {
  [[ -z $server ]] || kill "$server" 2>/dev/null || true
  [[ $# == 0 ]] || rm -rf "$directory"
}
if [[ $# -lt 3 ]]; then trap 'finish remove' EXIT; else trap finish EXIT; fi

printf 'machine cores=%s load=%s commit=%s\n' "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" \
  "$(git -C "$ROOT" rev-parse --short HEAD)"
"$BENCH_BIN/bench_log" "$data" "$activities" "$actors"

# start NAME: milliseconds until /readyz answers, then memory once nothing happens any more.
start() {
  local began now ready
  began=$(date +%s%3N)
  "$BENCH_BIN/fedsx" serve --data "$data" --listen 127.0.0.1:9900 --base-url http://localhost:9900 \
    --allow-http --log warn >"$directory/stdout" 2>"$directory/log" &
  server=$!
  until curl -sf -o /dev/null http://127.0.0.1:9900/readyz; do
    kill -0 "$server" 2>/dev/null || die "it did not start: $(tail -n 3 "$directory/log")"
    sleep 0.05
  done
  now=$(date +%s%3N)
  ready=$((now - began))
  sleep 3
  printf '%s ready_ms=%s resident_kib=%s cpu_ms=%s\n' "$1" "$ready" \
    "$(awk '/VmRSS/ { print $2 }' "/proc/$server/status")" \
    "$(awk '{ print ($14 + $15) * 10 }' "/proc/$server/stat")"
  kill -TERM "$server"
  wait "$server" || true
  server=
}
# The first start folds the whole log into what the bench does not write: delivery, reactions.
start first_start
start start
start start
du -sk "$data/store" "$data/projections" | awk '{ print "size_kib", $2, $1 }'
if [[ ${BENCH_VERIFY:-1} != 0 ]]; then
  began=$(date +%s%3N)
  "$BENCH_BIN/fedsx" verify --data "$data"
  now=$(date +%s%3N)
  printf 'verify ms=%s\n' $((now - began))
fi
