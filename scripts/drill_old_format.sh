#!/usr/bin/env bash
# Data of every earlier format is opened, served as it was, and goes on.
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

SECRET=alice-secret-0123456789

opened() {
  local fixture name expected wanted count n id
  for fixture in "$ROOT"/tests/fixtures/format-*; do
    name=$(basename "$fixture")
    NODES+=("$name")
    mkdir -p "$(data_of "$name")"
    tar -xzf "$fixture/data.tar.gz" -C "$(data_of "$name")"
    expected=$(cat "$fixture/expected.json")
    jq -r .base <<<"$expected" >"$(node_dir "$name")/base"
    fedsx verify --data "$(data_of "$name")" >/dev/null
    start_node "$name" "alice=$SECRET:publish,read"
    count=$(jq '.activities | length' <<<"$expected")
    for ((n = 0; n < count; n++)); do
      wanted=$(jq -cS ".activities[$n]" <<<"$expected")
      id=$(jq -r .id <<<"$wanted")
      [[ $(get "$(url_of "$name")/activities/${id##*/}" "$SECRET" | jq -cS .) == "$wanted" ]] ||
        { say "$name: $id is another one now" && return 1; }
    done
  done
}

goes_on() {
  local name
  for name in "${NODES[@]}"; do
    expect "$(a_note "$(url_of "$name")" "$SECRET" 'by the new program')" '.seq > 0'
    sound "$name"
  done
}

drill 'old format'
step 'data of each format is verified and served as it was' opened
step 'it goes on, and what is written is sound' goes_on
