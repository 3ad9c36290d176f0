#!/usr/bin/env bash
# Crash torture: an instance under load is killed at random moments, in half of the rounds with a
# simulated power cut, and checked after each round. tests/torture/ says what is checked, and
# plans/decisions/0013-crash-torture.md what a simulated power cut covers.
#
#   scripts/torture.sh [rounds [seed]]     200 rounds and a random seed without them
#
# The last line is the summary. The exit status is 1 when anything that was acknowledged was lost
# or doubled, or anything else was found that must not be; the data of such a life is kept.
#
#   TORTURE_STORMS   kills of a process that writes to the store alone (5 for each round)
#   FEDSX_PROFILE    cargo profile of instance and driver (dev)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=${1:-200}
seed=${2:-}
for number in "$rounds" "${seed:-0}" "${TORTURE_STORMS:-0}"; do
  [[ $number =~ ^[0-9]+$ ]] || die 'usage: scripts/torture.sh [rounds [seed]]'
done

need_tools
# The driver is built even where FEDSX_BIN names the instance.
need_rust
profile=${FEDSX_PROFILE:-dev}
fedsx=$(build)
(cd "$ROOT" && cargo build --quiet --example torture --profile "$profile") >&2
driver=$(dirname "$(FEDSX_BIN='' build)")/examples/torture

directory=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-torture.XXXXXX")
# Lives that failed are kept; an empty directory is not.
trap 'rm -f "$directory/powercut.so"; rmdir "$directory" 2>/dev/null || true' EXIT

arguments=(--rounds "$rounds" --fedsx "$fedsx" --dir "$directory")
[[ -z $seed ]] || arguments+=(--seed "$seed")
[[ -z ${TORTURE_STORMS:-} ]] || arguments+=(--storms "$TORTURE_STORMS")
if [[ $(uname -s) == Linux ]]; then
  cc -shared -fPIC -O2 -U_FORTIFY_SOURCE -Wall -Wextra -pthread \
    -o "$directory/powercut.so" "$ROOT/tests/torture/powercut.c" -ldl
  arguments+=(--powercut "$directory/powercut.so")
else
  say 'power cuts are simulated on Linux only: there will be kills'
fi
"$driver" "${arguments[@]}"
