#!/usr/bin/env bash
# An actor is deleted: the Delete federates, its private keys are destroyed, a tombstone stays.
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

keys() {
  fedsx key rotate-master --json --data "$(data_of a)" | jq '.keys + .keys_before'
}

counted() {
  stop_node a
  KEYS=$(keys)
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
}

deleted() {
  publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$ALICE" '{type: "Delete", object: $id}')" >/dev/null
  expect "$(answer 410 GET "$ALICE" '')" '.type == "/problems/actor-gone"'
  answer 410 POST "$A/activity" "$TOKEN_ALICE" \
    '{"type":"Create","object":{"type":"Note","content":"too late"}}' >/dev/null
}

gone_at_the_peer() {
  await "$DEADLINE_S" 'bob follows nobody' "$BOB/following?page=true" "$TOKEN_BOB" \
    '.orderedItems | index($id) == null' --arg id "$ALICE"
  await "$DEADLINE_S" 'B knows that she is gone' \
    "$B/projections/actor-state?key=$(urlencode "$ALICE")" '' '.items[0].value.deleted == true'
}

destroyed() {
  local now
  stop_node a
  now=$(keys)
  [[ $now -eq $((KEYS - 2)) ]] || { say "$KEYS private keys before, $now now" && return 1; }
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  answer 410 GET "$ALICE" '' >/dev/null
  sound a b
}

drill deleted a b
step 'a pair federates' a_pair
step 'her private keys are there' counted
step 'alice is deleted: 410 for who asks, and for herself' deleted
step 'the peer takes the Delete' gone_at_the_peer
step 'her private keys are destroyed, the tombstone stays' destroyed
