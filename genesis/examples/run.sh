#!/usr/bin/env bash
# Runs the link board of genesis/examples/link-board over two instances: A defines it, B adopts it,
# and a vote given on B counts on A. Exits with 0, or at the first step that fails. Everything it
# makes lies in a temporary directory, which it removes.
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR/../../scripts source=lib.sh
source "$here/../../scripts/lib.sh"

need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
FEDSX_PAIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-board.XXXXXX")
export FEDSX_PAIR_DIR
trap '"$ROOT/scripts/stop_pair.sh" || true; rm -rf "$FEDSX_PAIR_DIR"' EXIT
eval "$("$ROOT/scripts/start_pair.sh")"

# publish URL TOKEN ACTIVITY: prints the answer.
publish() {
  curl -fsS -X POST "$1/activity" -H "Authorization: Bearer $2" \
    -H 'Content-Type: application/json' -d "$3"
}

# board URL ID: the row of a bookmark, if there is one.
board() { curl -fsS -G "$1/projections/link-board" --data-urlencode "key=$2" | jq -e '.items[0].value'; }
scores() { board "$1" "$2" | jq -e --argjson score "$3" '.score == $score'; }
offers() { curl -fsS "$1/types/$2"; }
follows() { curl -fsS "$B/actors/bob/following?page=true" | jq -e --arg id "$1" '.orderedItems | index($id)'; }

person() { printf '{"type":"Create","object":{"type":"Person","name":"%s"}}' "$1"; }
publish "$A" "$TOKEN_ALICE" "$(person alice)" >/dev/null
publish "$B" "$TOKEN_BOB" "$(person bob)" >/dev/null
publish "$B" "$TOKEN_BOB" "{\"type\":\"Follow\",\"object\":\"$A/actors/alice\"}" >/dev/null
publish "$A" "$TOKEN_ALICE" "{\"type\":\"Follow\",\"object\":\"$B/actors/bob\"}" >/dev/null
poll 30 "bob follows alice" follows "$A/actors/alice"

say "alice defines the board on A"
"$FEDSX_BIN" define check "$here"/link-board/*.json >&2
defined=$("$FEDSX_BIN" define publish "$here"/link-board/*.json --url "$A" --token "$TOKEN_ALICE")
link=$(publish "$A" "$TOKEN_ALICE" '{"type":"Create","object":
  {"type":"Bookmark","href":"https://www.w3.org/TR/activitypub/","name":"ActivityPub"}}' | jq -r .object)
poll 30 "the board of A shows the bookmark" scores "$A" "$link" 0

say "bob adopts it on B, where all that came before is folded"
while read -r cid _; do
  poll 30 "B is offered $cid" offers "$B" "$cid"
  publish "$B" "$TOKEN_BOB" "{\"type\":\"Add\",\"object\":\"$cid\"}" >/dev/null
done <<<"$defined"
poll 30 "the board of B shows the bookmark" scores "$B" "$link" 0

say "bob votes on B"
publish "$B" "$TOKEN_BOB" "{\"type\":\"Vote\",\"object\":\"$link\"}" >/dev/null
poll 30 "the vote counts on B" scores "$B" "$link" 1
poll 30 "the vote counts on A" scores "$A" "$link" 1
board "$A" "$link"
