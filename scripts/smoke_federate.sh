#!/usr/bin/env bash
# Two instances federate, step by step: discovery, follow, publish, rotation, announce, private Notes,
# changes and deletion, likes, followers who are asked for, history, an outage, a dead letter, blocks,
# restart.
# Prints one line for each step and exits with 0, or names the step that failed and shows both
# logs. Everything it makes lies in a temporary directory, which it removes (FEDSX_KEEP=1 keeps it).
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Seconds within which something published on one instance must have its effect on the other.
DEADLINE_S=${FEDSX_SMOKE_DEADLINE_S:-30}
STEP=
FEDSX_PAIR_DIR=

finish() {
  local status=$?
  trap - EXIT
  if [[ -n $FEDSX_PAIR_DIR ]]; then
    if ((status != 0)); then
      [[ -z $STEP ]] || printf 'not ok %s\n' "$STEP"
      show_log a
      show_log b
    fi
    stop_node a || true
    stop_node b || true
    if [[ -n ${FEDSX_KEEP:-} ]]; then
      say "kept: $FEDSX_PAIR_DIR"
    else
      rm -rf "$FEDSX_PAIR_DIR"
    fi
  fi
  exit "$status"
}

# step NUMBER TITLE FUNCTION
step() {
  STEP="$1 $2"
  "$3"
  printf 'ok %s\n' "$STEP"
  STEP=
}

start_pair() {
  "$ROOT/scripts/start_pair.sh" >/dev/null
  A=$(url_of a)
  B=$(url_of b)
  ALICE=$A/actors/alice
  BOB=$B/actors/bob
  CAROL=$B/actors/carol
}

# The proof of an activity names the key that signed it.
signing_key() { jq -r .proof.verificationMethod <<<"$1"; }

# The id of bob's current Ed25519 key that may sign activities.
current_key() {
  jq -r '[.orderedItems[] | select(.validUntil == null and .publicKeyMultibase != null
    and (.purposes | index("sign-activity")))] | last | .id'
}

verify_data() {
  local name out
  for name in a b; do
    if ! out=$("$FEDSX_BIN" verify --data "$(data_of "$name")" 2>&1); then
      say "fedsx verify refuses the data of $name:"
      say "$out"
      return 1
    fi
  done
}

start() {
  start_pair
  [[ $A != "$B" ]]
  get "$A/livez" >/dev/null
  get "$B/livez" >/dev/null
  get "$A/readyz" >/dev/null
  get "$B/readyz" >/dev/null
}

# create_actor BASE TOKEN NAME
create_actor() {
  local made actor
  made=$(publish "$1" "$2" \
    "$(jq -cn --arg name "$3" '{type: "Create", object: {type: "Person", name: $name}}')")
  expect "$made" '.seq == 0 and .id == $base + "/activities/" + .cid' --arg base "$1"
  actor=$(get "$1/actors/$3")
  expect "$actor" '.id == $id and .type == "Person" and .preferredUsername == $name' \
    --arg id "$1/actors/$3" --arg name "$3"
  expect "$actor" '.inbox == .id + "/inbox" and .outbox == .id + "/outbox"'
  expect "$actor" '.publicKey.owner == .id and (.publicKey.publicKeyPem | length > 0)'
  expect "$actor" '[.assertionMethod[] | select(.type == "Multikey" and .controller == $id)]
    | length > 0' --arg id "$1/actors/$3"
}

bootstrap() {
  create_actor "$A" "$TOKEN_ALICE" alice
  create_actor "$B" "$TOKEN_BOB" bob
  create_actor "$B" "$TOKEN_CAROL" carol
  answer 401 POST "$A/activity" '' '{"type":"Create","object":{"type":"Note"}}' >/dev/null
  answer 404 GET "$A/actors/bob" '' >/dev/null
}

# lookup BASE TOKEN RESOURCE: the actor that webfinger answers with.
lookup() {
  get "$1/.well-known/webfinger?resource=$(urlencode "$3")" "$2" |
    jq -r '.links[] | select(.rel == "self") | .href' | head -n 1
}

discover() {
  local account found
  account=acct:bob@${B#http://}
  found=$(lookup "$B" '' "$account")
  [[ $found == "$BOB" ]] || { say "B says that $account is '$found'" && return 1; }
  found=$(lookup "$A" "$TOKEN_ALICE" "$account")
  [[ $found == "$BOB" ]] || { say "A says that $account is '$found'" && return 1; }
  account=$(urlencode "acct:nobody@${B#http://}")
  answer 404 GET "$B/.well-known/webfinger?resource=$account" '' >/dev/null
}

follow() {
  local made
  made=$(publish "$A" "$TOKEN_ALICE" \
    "$(jq -cn --arg bob "$BOB" '{type: "Follow", object: $bob}')")
  expect "$made" '.seq == 1'
}

pending() {
  local following
  following=$(get "$ALICE/following?page=true" "$TOKEN_ALICE")
  expect "$following" '((.pending // []) + .orderedItems) | index($bob) != null' --arg bob "$BOB"
}

accepted() {
  await "$DEADLINE_S" "bob's Accept reaches alice" "$ALICE/following?page=true" "$TOKEN_ALICE" \
    '(.orderedItems | index($bob) != null) and ((.pending // []) | index($bob) == null)' \
    --arg bob "$BOB"
  await "$DEADLINE_S" "alice is a follower of bob" "$BOB/followers?page=true" '' \
    '.orderedItems | index($alice) != null' --arg alice "$ALICE"
  await "$DEADLINE_S" "the follower-graph projection of A agrees" \
    "$A/projections/follower-graph?key=following&key=$(urlencode "$ALICE")" '' \
    '[.items[] | select(.key[2] == $bob)] | length == 1' --arg bob "$BOB"
}

# note CONTENT: bob publishes a Note; prints the answer.
note() {
  publish "$B" "$TOKEN_BOB" "$(jq -cn --arg content "$1" \
    '{type: "Create", object: {type: "Note", content: $content}}')"
}

publish_note() {
  NOTE=$(note 'hi')
  NOTE_ID=$(jq -r .id <<<"$NOTE")
  NOTE_CID=$(jq -r .cid <<<"$NOTE")
  local served
  served=$(get "$NOTE_ID")
  expect "$served" '.type == "Create" and .actor == $bob and .object.content == "hi"' \
    --arg bob "$BOB"
  NOTE_KEY=$(signing_key "$served")
}

# received ID: waits until the activity is in alice's inbox.
received() {
  await "$DEADLINE_S" "alice's inbox receives $1" "$ALICE/inbox?page=true" "$TOKEN_ALICE" \
    '.orderedItems[] | select(.id == $id and .type == "Create" and .object.type == "Note")' \
    --arg id "$1"
}

receive_note() {
  received "$NOTE_ID"
  # What arrived is what bob signed, byte for byte of its canonical form.
  local sent held
  sent=$(get "$NOTE_ID" | jq -cS .)
  held=$(get "$ALICE/inbox?page=true" "$TOKEN_ALICE" |
    jq -cS --arg id "$NOTE_ID" '.orderedItems[] | select(.id == $id)')
  [[ $sent == "$held" ]] || { say "sent: $sent" && say "held: $held" && return 1; }
  answer 401 GET "$ALICE/inbox?page=true" '' >/dev/null
}

feed() {
  await "$DEADLINE_S" "alice's feed shows the Note" "$A/projections/feed" "$TOKEN_ALICE" \
    '[.items[] | select(.value.cid == $cid and .value.object.content == "hi")] | length == 1' \
    --arg cid "$NOTE_CID"
}

rotate() {
  local before after rotation served
  before=$(get "$BOB/keys" | current_key)
  [[ $before == "$NOTE_KEY" ]] ||
    { say "the Note is signed by $NOTE_KEY, the current key is $before" && return 1; }
  rotation=$(publish "$B" "$TOKEN_BOB" \
    '{"type":"Update","object":"bob","patch":{"add_publicKey":{"generate":true},"supersede":{}}}')
  served=$(get "$(jq -r .id <<<"$rotation")")
  expect "$served" '.type == "Update" and .object.id == $bob and .proof.verificationMethod == $key' \
    --arg bob "$BOB" --arg key "$before"
  after=$(get "$BOB/keys")
  expect "$after" '.orderedItems[] | select(.id == $key) | .revoked != null and .validUntil != null' \
    --arg key "$before"
  NEW_KEY=$(current_key <<<"$after")
  [[ $NEW_KEY != "$before" && $NEW_KEY != null ]] ||
    { say "no new key: $after" && return 1; }
  await "$DEADLINE_S" "A knows of the rotation" \
    "$A/projections/key-history?key=$(urlencode "$BOB")" '' \
    '(.items | any(.key[1] == $new and .value.validUntil == null))
      and (.items | any(.key[1] == $old and .value.validUntil != null))' \
    --arg new "$NEW_KEY" --arg old "$before"
}

old_note_verifies() {
  # Still the same proof, by a key whose interval has ended but holds the Note's position.
  local served keys later
  served=$(get "$NOTE_ID")
  expect "$served" '.proof.verificationMethod == $key' --arg key "$NOTE_KEY"
  keys=$(get "$BOB/keys")
  expect "$keys" '.orderedItems[] | select(.id == $key)
    | .validFrom.seq <= $seq and $seq <= .validUntil.seq' \
    --arg key "$NOTE_KEY" --argjson seq "$(jq .seq <<<"$NOTE")"
  # What bob says now is signed by the new key, and alice takes it.
  later=$(note 'after the rotation')
  served=$(get "$(jq -r .id <<<"$later")")
  expect "$served" '.proof.verificationMethod == $key' --arg key "$NEW_KEY"
  received "$(jq -r .id <<<"$later")"
  # Offline, both instances check every proof against the key history.
  "$ROOT/scripts/stop_pair.sh"
  verify_data
  start_pair
}

announce() {
  publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg alice "$ALICE" '{type: "Follow", object: $alice}')" \
    >/dev/null
  await "$DEADLINE_S" "carol follows alice" "$ALICE/followers?page=true" '' \
    '.orderedItems | index($carol) != null' --arg carol "$CAROL"
  local made
  made=$(publish "$A" "$TOKEN_ALICE" \
    "$(jq -cn --arg cid "$NOTE_CID" '{type: "Announce", object: $cid}')")
  ANNOUNCE_ID=$(jq -r .id <<<"$made")
}

announced() {
  await "$DEADLINE_S" "the Announce stands in alice's outbox" "$ALICE/outbox?page=true" '' \
    '.orderedItems[] | select(.id == $id and .type == "Announce" and .objectCid == $cid)' \
    --arg id "$ANNOUNCE_ID" --arg cid "$NOTE_CID"
  await "$DEADLINE_S" "the Announce reaches carol" "$CAROL/inbox?page=true" "$TOKEN_CAROL" \
    '.orderedItems[] | select(.id == $id and .type == "Announce")' --arg id "$ANNOUNCE_ID"
}

private_note() {
  local made id
  made=$(publish "$B" "$TOKEN_BOB" "$(jq -cn --arg to "$ALICE" \
    '{type: "Create", to: [$to], object: {type: "Note", content: "for alice alone"}}')")
  id=$(jq -r .id <<<"$made")
  arrives "$ALICE" "$TOKEN_ALICE" "$id"
  answer 404 GET "$id" '' >/dev/null
  answer 404 GET "$id" "$TOKEN_CAROL" >/dev/null
  answer 404 GET "$(jq -r .object <<<"$made")" '' >/dev/null
  get "$id" "$TOKEN_BOB" >/dev/null
  expect "$(get "$BOB/outbox?page=true")" '[.orderedItems[].id] | index($id) == null' --arg id "$id"
}

change_and_delete() {
  local made object
  made=$(note 'a first version')
  object=$(jq -r .object <<<"$made")
  received "$(jq -r .id <<<"$made")"
  publish "$B" "$TOKEN_BOB" "$(jq -cn --arg id "$object" \
    '{type: "Update", object: {id: $id, type: "Note", content: "a second version"}}')" >/dev/null
  await "$DEADLINE_S" 'A has the second version' \
    "$A/projections/objects?key=$(urlencode "$object")" '' \
    '.items[0].value | tostring | contains("a second version")'
  publish "$B" "$TOKEN_BOB" "$(jq -cn --arg id "$object" '{type: "Delete", object: $id}')" >/dev/null
  await "$DEADLINE_S" 'A has a tombstone' \
    "$A/projections/objects?key=$(urlencode "$object")" '' '.items[0].value.deleted == true'
  answer 410 GET "$object" '' >/dev/null
}

# likes COUNT: waits until both instances count so many Likes of the first Note.
likes() {
  local base
  for base in "$A" "$B"; do
    await "$DEADLINE_S" "$base counts $1" \
      "$base/projections/endorsements?key=$(urlencode "$(jq -r .object <<<"$NOTE")")" '' \
      '([.items[] | select(.key | length == 1) | .value.like] | add // 0) == $count' \
      --argjson count "$1"
  done
}

like_and_undo() {
  local made
  made=$(publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg cid "$NOTE_CID" '{type: "Like", object: $cid}')")
  likes 1
  publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$(jq -r .id <<<"$made")" \
    '{type: "Undo", object: $id}')" >/dev/null
  likes 0
}

# asks_carol: alice asks to follow carol; prints the id of the Follow once it waits on B.
asks_carol() {
  local id
  id=$(publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$CAROL" '{type: "Follow", object: $id}')" |
    jq -r .id)
  arrives "$CAROL" "$TOKEN_CAROL" "$id"
  printf '%s\n' "$id"
}

# alice_follows_carol EXPRESSION: what alice's list of whom she follows must say of carol.
alice_follows_carol() {
  await "$DEADLINE_S" "alice's list: $1" "$ALICE/following?page=true" "$TOKEN_ALICE" "$1" \
    --arg carol "$CAROL"
}

approve() {
  local id following='.orderedItems | index($carol) != null'
  local nothing='(.orderedItems + (.pending // [])) | index($carol) == null'
  publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg id "$CAROL" \
    '{type: "Update", object: {id: $id, manuallyApprovesFollowers: true}}')" >/dev/null
  id=$(asks_carol)
  alice_follows_carol '.pending | index($carol) != null'
  publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg id "$id" '{type: "Reject", object: $id}')" >/dev/null
  alice_follows_carol "$nothing"
  id=$(asks_carol)
  publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg id "$id" '{type: "Accept", object: $id}')" >/dev/null
  alice_follows_carol "$following"
  publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$id" '{type: "Undo", object: $id}')" >/dev/null
  alice_follows_carol "$nothing"
  await "$DEADLINE_S" 'carol has lost a follower' "$CAROL/followers" '' '.totalItems == 0'
}

history() {
  local made id
  made=$(publish "$B" "$TOKEN_CAROL" \
    '{"type":"Create","object":{"type":"Note","content":"before anybody followed"}}')
  id=$(asks_with_history)
  publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg id "$id" '{type: "Accept", object: $id}')" >/dev/null
  arrives "$ALICE" "$TOKEN_ALICE" "$(jq -r .id <<<"$made")"
}

asks_with_history() {
  local id
  id=$(publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$CAROL" \
    '{type: "Follow", object: $id, backfill: {mode: "last-N", limit: 3}}')" | jq -r .id)
  arrives "$CAROL" "$TOKEN_CAROL" "$id"
  printf '%s\n' "$id"
}

# deliveries CID STATUS: waits until B says so of the delivery to A (queued, delivered or parked).
deliveries() {
  await "$DEADLINE_S" "the delivery is $2" "$B/admin/delivery/$1" "$TOKEN_BOB" \
    '[.. | objects | select(.status? == $status)] | length > 0' --arg status "$2"
}

outage() {
  local made
  stop_node a
  made=$(note 'while A was away')
  deliveries "$(jq -r .cid <<<"$made")" queued
  start_pair
  received "$(jq -r .id <<<"$made")"
  deliveries "$(jq -r .cid <<<"$made")" delivered
}

block() {
  local made
  publish "$A" "$TOKEN_ALICE" "$(jq -cn --arg id "$CAROL" '{type: "Block", object: $id}')" >/dev/null
  await "$DEADLINE_S" 'carol follows alice no more' "$ALICE/followers?page=true" "$TOKEN_ALICE" \
    '.orderedItems | index($carol) == null' --arg carol "$CAROL"
  alice_follows_carol '.orderedItems | index($carol) == null'
  made=$(publish "$B" "$TOKEN_CAROL" "$(jq -cn --arg to "$ALICE" \
    '{type: "Create", to: [$to], object: {type: "Note", content: "still there?"}}')")
  # A refusal is final: the delivery is parked with its reason, and can be looked at.
  deliveries "$(jq -r .cid <<<"$made")" parked
  expect "$(get "$B/admin/dead-letter" "$TOKEN_BOB")" \
    '[.items[] | tostring | select(contains($cid))] | length == 1' --arg cid "$(jq -r .cid <<<"$made")"
  expect "$(get "$ALICE/inbox?page=true&limit=100" "$TOKEN_ALICE")" \
    '[.orderedItems[].id] | index($id) == null' --arg id "$(jq -r .id <<<"$made")"
}

survive() {
  local before after further
  before=$(state)
  "$ROOT/scripts/stop_pair.sh"
  start_pair
  after=$(state)
  [[ $before == "$after" ]] || { diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") >&2 ||
    true; return 1; }
  accepted
  feed
  further=$(note 'after the restart')
  received "$(jq -r .id <<<"$further")"
  "$ROOT/scripts/stop_pair.sh"
  verify_data
}

# What must be the same after a restart, one JSON document a line.
state() {
  local url
  for url in "$ALICE/following?page=true" "$ALICE/followers?page=true" "$ALICE/outbox?page=true" \
    "$ALICE/inbox?page=true" "$ALICE" "$A/projections/feed"; do
    get "$url" "$TOKEN_ALICE" | jq -cS 'del(.global_seq)'
  done
  for url in "$BOB/following?page=true" "$BOB/followers?page=true" "$BOB/outbox?page=true" \
    "$BOB/keys" "$BOB/inbox?page=true" "$BOB"; do
    get "$url" "$TOKEN_BOB" | jq -cS 'del(.global_seq)'
  done
}

need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
FEDSX_PAIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-smoke.XXXXXX")
export FEDSX_PAIR_DIR

step 0 'two instances start' start
step 1 'alice@A, bob@B and carol@B come to be' bootstrap
step 2 'A discovers bob by webfinger' discover
step 3 'alice follows bob' follow
step 4 'the follow is pending or accepted' pending
step 5 'bob accepts, and both sides agree' accepted
step 6 'bob publishes a Note' publish_note
step 7 "alice's inbox has the Note" receive_note
step 8 "alice's feed shows the Note" feed
step 9 'bob rotates his key' rotate
step 10 'the older Note verifies by the superseded key' old_note_verifies
step 11 "alice announces bob's Note" announce
step 12 "the Announce is in alice's outbox and reaches her follower" announced
step 13 'a Note for alice alone is shown to nobody else' private_note
step 14 'a Note is changed and deleted on both sides' change_and_delete
step 15 'a Like is counted on both sides, and its Undo' like_and_undo
step 16 'carol is asked: she rejects, accepts, and is left' approve
step 17 'a Follow brings history along' history
step 18 'what is said while A is away arrives when it is back' outage
step 19 'a Block ends both directions, and what is refused is a dead letter' block
step 20 'a restart loses nothing, and a further Note arrives' survive
