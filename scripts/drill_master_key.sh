#!/usr/bin/env bash
# The master key is changed: private keys are sealed anew, the old key is refused, issued tokens end.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

issued() {
  ISSUED=$(fedsx token issue alice --url "$A" --token "$TOKEN_ALICE" 2>/dev/null)
  CAPABILITY=$(fedsx token issue alice --capability --url "$A" --token "$TOKEN_ALICE" 2>/dev/null)
  get "$A/token" "$ISSUED" >/dev/null
  get "$A/token" "$CAPABILITY" >/dev/null
  refuses 'in use' fedsx key rotate-master --data "$(data_of a)"
}

rotated() {
  local data said
  data=$(data_of a)
  stop_node a
  cp -p "$data/master.key" "$FEDSX_PAIR_DIR/old.key"
  said=$(fedsx key rotate-master --json --data "$data")
  expect "$said" '.keys > 0 and .keys_before == 0 and .tokens_ended == 1 and .capabilities_ended == 1'
  if cmp -s "$data/master.key" "$FEDSX_PAIR_DIR/old.key"; then return 1; fi
  [[ $(stat -c %a "$data/master.key") == 600 && ! -e $data/master.key.next ]]
}

interrupted() {
  # As if the machine went down before the new key took the place of the old one.
  local data said
  data=$(data_of a)
  cp -p "$data/master.key" "$data/master.key.next"
  cp -p "$FEDSX_PAIR_DIR/old.key" "$data/master.key"
  serve_refused a 'was interrupted'
  said=$(fedsx key rotate-master --json --data "$data")
  expect "$said" '.keys == 0 and .keys_before > 0'
}

old_refused() {
  local data
  data=$(data_of a)
  cp -p "$data/master.key" "$FEDSX_PAIR_DIR/new.key"
  cp -p "$FEDSX_PAIR_DIR/old.key" "$data/master.key"
  serve_refused a 'is not the one'
  cp -p "$FEDSX_PAIR_DIR/new.key" "$data/master.key"
}

goes_on() {
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  reaches_bob 'with keys under a new master key'
  answer 401 GET "$A/token" "$ISSUED" >/dev/null
  answer 401 GET "$A/token" "$CAPABILITY" >/dev/null
  get "$A/token" "$TOKEN_ALICE" >/dev/null
  expect "$(get "$A/admin/tokens" "$TOKEN_ALICE")" \
    '[.items[] | select(.origin == "issued") | .revoked != null] == [true]'
  sound a b
}

drill 'master key' a b
step 'a pair federates' a_pair
step 'tokens are issued, and nothing is changed while it runs' issued
step 'the master key is changed' rotated
step 'an interrupted change is seen and ended' interrupted
step 'the old master key is refused' old_refused
step 'actors publish as before; issued tokens ended, configured ones stay' goes_on
