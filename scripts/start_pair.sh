#!/usr/bin/env bash
# Starts two instances on this machine, A with the token of alice, B with those of bob and carol,
# and prints where they are, in a form that the shell can evaluate:
#
#   eval "$(scripts/start_pair.sh)"
#
# Their state is kept in FEDSX_PAIR_DIR (by default a new temporary directory). Started again on
# the same directory they have the same addresses.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
own_dir=
if [[ -z ${FEDSX_PAIR_DIR:-} ]]; then
  own_dir=yes
  FEDSX_PAIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-pair.XXXXXX")
fi
export FEDSX_PAIR_DIR

fail() {
  # Whoever named the directory shows the logs as it sees fit.
  if [[ -n $own_dir ]]; then
    show_log a
    show_log b
  fi
  say "the pair did not start; its directory is $FEDSX_PAIR_DIR"
  stop_node a || true
  stop_node b || true
  exit 1
}
start_node a "alice=$TOKEN_ALICE:$SCOPES" || fail
start_node b "bob=$TOKEN_BOB:$SCOPES" "carol=$TOKEN_CAROL:$SCOPES" || fail

printf 'export FEDSX_PAIR_DIR=%q\n' "$FEDSX_PAIR_DIR"
printf 'export A=%s B=%s\n' "$(url_of a)" "$(url_of b)"
printf 'export TOKEN_ALICE=%s TOKEN_BOB=%s TOKEN_CAROL=%s\n' \
  "$TOKEN_ALICE" "$TOKEN_BOB" "$TOKEN_CAROL"
