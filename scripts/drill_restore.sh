#!/usr/bin/env bash
# An instance loses its data, is restored from a backup, and its peers go on with it.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

backed_up() {
  fedsx backup "$FEDSX_PAIR_DIR/backup" --with-master-key --url "$A" --token "$TOKEN_ALICE" >/dev/null
  reaches_bob 'after the backup, and lost'
  stop_node a
  rm -rf "$(data_of a)"
}

not_served() { serve_refused a 'is a backup'; }

run_on_backup() {
  cp -a "$FEDSX_PAIR_DIR/backup" "$(data_of a)"
  not_served
  rm -rf "$(data_of a)"
}

restored() {
  local said
  said=$(fedsx restore --json --from "$FEDSX_PAIR_DIR/backup" --data "$(data_of a)")
  expect "$said" '.epoch > 0 and .master_key'
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
}

peers_go_on() {
  reaches_bob 'after the restore'
  reaches_bob 'and again'
  equivocations 0
}

both_sound() { sound a b; }

drill restore a b
step 'a pair federates' a_pair
step 'a backup is made while it runs; then all is lost' backed_up
step 'nothing runs on the backup itself' run_on_backup
step 'the backup is restored, and its epoch rises' restored
step 'the peer takes what is said now, and sees no number twice' peers_go_on
step 'both are sound' both_sound
