#!/usr/bin/env bash
# An instance moves to another machine: the data directory is copied while it stands still, and goes
# on under the same base URL. The old one cannot go on, and says why.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

copied() {
  stop_node a
  mkdir -p "$(node_dir old)"
  mv "$(data_of a)" "$(data_of old)"
  cp -a "$(data_of old)" "$(data_of a)"
  printf '%s\n' "$A" >"$(node_dir old)/base"
}

asks_for_an_epoch() {
  serve_refused a 'is a copy of a data directory'
  EPOCH=$(sed -n 's/.*--epoch \([0-9]*\).*/\1/p' "$(node_dir a)/log" | tail -n 1)
  [[ $EPOCH -gt 0 ]]
}

goes_on() {
  NODE_ARGS=(--epoch "$EPOCH")
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  NODE_ARGS=()
  reaches_bob 'from the new machine'
}

old_ends() { serve_refused old 'was replaced by it'; }

stays() {
  stop_node a
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  reaches_bob 'after another start, without being told the epoch'
  equivocations 0
  sound a b old
}

drill moved a b old
step 'a pair federates' a_pair
step 'A stands still and is copied' copied
step 'the copy does not go on by itself, and says how it may' asks_for_an_epoch
step 'it goes on at a higher epoch under the same base URL' goes_on
step 'the old one finds the new one under its base URL, and ends' old_ends
step 'the new one stays, and no number stands for two statements' stays
