#!/usr/bin/env bash
# Makes a small data directory of the current on-disk format as a fixture for the tests:
#   scripts/make_fixture.sh tests/fixtures/format-N
# A fixture is made once, when a format is new, and never again: the tests show that later versions
# still read it. It has two actors, entries of every stream, a key rotation, a body over the size
# at which bodies are cut, two starts, and an end by which the last entries stand in the journal
# alone. Its master key is a throwaway.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ $# == 1 ]] || die "usage: scripts/make_fixture.sh tests/fixtures/format-N"
mkdir -p "$1"
target=$(cd "$1" && pwd)
[[ ! -e $target/data.tar.gz ]] || die "$target has a fixture, which stays as it is"
need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
FEDSX_PAIR_DIR=$(mktemp -d)
export FEDSX_PAIR_DIR
trap 'stop_node fixture || true; rm -rf "$FEDSX_PAIR_DIR"' EXIT

# The secrets are those of the tests.
secret=alice-secret-0123456789
other=bob-secret-0123456789
start() { start_node fixture "alice=$secret:publish,read" "bob=$other:publish,read"; }
create() { jq -nc --arg type "$1" --arg name "$2" '{type: "Create", object: {type: $type, name: $name}}'; }
a_note() { jq -nc --arg text "$1" '{type: "Create", object: {type: "Note", content: $text}}'; }

start
base=$(url_of fixture)
publish "$base" "$secret" "$(create Person alice)" >/dev/null
publish "$base" "$other" "$(create Person bob)" >/dev/null
publish "$base" "$other" "{\"type\":\"Follow\",\"object\":\"$base/actors/alice\"}" >/dev/null
await 10 "the Follow is accepted" "$base/actors/alice/followers?page=true" "" \
  '.orderedItems | length == 1'
for n in 1 2 3; do
  publish "$base" "$secret" "$(a_note "note $n")" >/dev/null
done
publish "$base" "$secret" "$(a_note "$(head -c 9000 /dev/zero | tr '\0' 'x')")" >/dev/null
publish "$base" "$secret" \
  '{"type":"Update","object":"alice","patch":{"add_publicKey":{"generate":true},"supersede":{}}}' \
  >/dev/null
stop_node fixture
start
note=$(publish "$base" "$secret" "$(a_note "by the new key")")
publish "$base" "$other" "$(jq -c '{type: "Endorse", object: .cid, kind: "like"}' <<<"$note")" \
  >/dev/null
await 10 "bob's Endorse in alice's inbox" "$base/actors/alice/inbox?page=true" "$secret" \
  '[.orderedItems[].type] | index("Endorse") != null'
activities=$(get "$base/actors/alice/outbox?since=&limit=100" "$secret" | jq '.orderedItems')
# Killed, so that the last entries stand in the journal only.
kill_node fixture

data=$(data_of fixture)
verified=$("$FEDSX_BIN" verify --json --data "$data")
jq -n --arg base "$base" --argjson verify "$verified" --argjson activities "$activities" \
  '{base: $base, verify: $verify, activities: $activities}' >"$target/expected.json"
# It is opened elsewhere, as a copy of nothing that goes on.
rm "$data/place"
# The same bytes for the same files; sled's empty places compress well.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$data" -cf - . |
  gzip -9n >"$target/data.tar.gz"
say "made $target: $(du -k "$target/data.tar.gz" | cut -f1) KiB"
