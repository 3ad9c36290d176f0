#!/usr/bin/env bash
# The clock of an instance is set back by an hour while it runs: it goes on, its peers go on with it,
# and its doctor says what is wrong.
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

drill clock a b
if ! LIBRARY=$(want_faketime); then
  say 'libfaketime is missing (Debian: faketime): the drill was skipped'
  exit 0
fi
OFFSET=$FEDSX_PAIR_DIR/offset

paired() {
  printf '+0\n' >"$OFFSET"
  NODE_ENV=("LD_PRELOAD=$LIBRARY" "FAKETIME_TIMESTAMP_FILE=$OFFSET" FAKETIME_NO_CACHE=1
    FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1)
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  NODE_ENV=()
  a_pair
}

set_back() {
  printf -- '-3600\n' >"$OFFSET"
}

outbound() {
  local outbox
  reaches_bob 'an hour ago'
  reaches_bob 'and again'
  outbox=$(get "$ALICE/outbox?since=&limit=100")
  expect "$outbox" '[.orderedItems[].seq] | . == (. | sort) and . == (. | unique)'
  equivocations 0
}

inbound() {
  local made
  made=$(publish "$B" "$TOKEN_BOB" "$(jq -cn --arg to "$ALICE" \
    '{type: "Create", to: [$to], object: {type: "Note", content: "from the future"}}')")
  CID=$(jq -r .cid <<<"$made")
  ID=$(jq -r .id <<<"$made")
  await "$DEADLINE_S" 'the refusal of what lies ahead is told with its reason' \
    "$B/admin/delivery/$CID" "$TOKEN_BOB" '.items | tostring | contains("from-the-future")'
}

told() {
  local said
  said=$(fedsx doctor --json --url "$A" --token "$TOKEN_ALICE") || true
  expect "$said" '[.findings[] | select(.check == "clock") | .outcome] == ["fail"]'
}

mended() {
  printf '+0\n' >"$OFFSET"
  fedsx dead-letter replay --peer "$A" --url "$B" --token "$TOKEN_BOB" >/dev/null
  await "$DEADLINE_S" 'alice gets what was refused' "$ALICE/inbox?page=true&limit=100" \
    "$TOKEN_ALICE" '[.orderedItems[].id] | index($id) != null' --arg id "$ID"
  reaches_bob 'at the right time again'
  sound a b
}

step 'a pair federates' paired
step 'the clock of A goes back by an hour' set_back
step 'what A says is taken, under rising numbers' outbound
step 'what B says lies ahead of the clock of A, is refused and kept' inbound
step 'the doctor says it' told
step 'with the right time it is delivered after all' mended
