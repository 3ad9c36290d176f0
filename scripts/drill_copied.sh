#!/usr/bin/env bash
# A data directory is copied while an instance runs on it: what is started on it is refused, ends by
# itself, or, where somebody forces it, is told by the peers.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

in_use() {
  refuses 'in use' fedsx serve --data "$(data_of a)" --listen 127.0.0.1:0 --allow-http --base-url "$A"
  refuses 'in use' fedsx verify --data "$(data_of a)"
}

copied() {
  mkdir -p "$(node_dir copy)"
  cp -a "$(data_of a)" "$(data_of copy)"
  printf '%s\n' "$A" >"$(node_dir copy)/base"
  serve_refused copy 'is a copy of a data directory'
}

forced() {
  # As a snapshot of a whole file system would be: nothing shows that it is a copy.
  rm "$(data_of copy)/place"
  serve_refused copy 'with the same epoch'
}

both_lives() {
  # The original is down, and so is not found under the base URL.
  stop_node a
  start_node copy "alice=$TOKEN_ALICE:$SCOPES"
  publish "$(url_of copy)" "$TOKEN_ALICE" \
    '{"type":"Create","object":{"type":"Note","content":"by the copy"}}' >/dev/null
  await "$DEADLINE_S" 'bob gets what the copy says' "$BOB/inbox?page=true" "$TOKEN_BOB" \
    '[.orderedItems[] | tostring] | any(contains("by the copy"))'
  stop_node copy
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  reaches_bob 'by the original, under the same number'
}

told() {
  local said
  equivocations 1
  said=$(fedsx doctor --json --url "$B" --token "$TOKEN_BOB") || true
  expect "$said" '.findings[] | select(.check == "equivocations") | .outcome == "warn"'
  sound a b
}

drill copied a b copy
step 'a pair federates' a_pair
step 'nothing else opens the data of a running instance' in_use
step 'what starts on a copy of it is refused' copied
step 'a copy that cannot be told ends when the original answers under its base URL' forced
step 'started while the original was down, both publish under one number' both_lives
step 'the peer keeps both and says so; its doctor too' told
