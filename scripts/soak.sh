#!/usr/bin/env bash
# Three instances under mixed load while they are killed at random: scripts/soak.sh [minutes [seed]].
#
# Two actors on each instance follow all the others and publish: public and direct Notes, Likes and
# their Undos, Updates, Deletes, key rotations. A third one follows and unfollows. Every request
# carries an idempotency key and is repeated until it is acknowledged. Meanwhile one instance after
# the other is killed and started again. At the end everything is let come to rest, and:
#
#   - each acknowledged activity is in the inbox of each recipient once, or in the dead letters
#   - a direct Note is in no other inbox
#   - the follow graphs of each two instances agree
#   - `fedsx verify` passes on all three
#
# It prints a line of figures and exits with 1 where anything is lost, doubled or leaked. The seed
# decides on what is done, not on when.
# shellcheck disable=SC2016 # What stands in single quotes are jq expressions with jq's variables.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MINUTES=${1:-10}
SEED=${2:-$RANDOM}
# How long everything may take to come to rest after the load.
REST_S=${FEDSX_SOAK_REST_S:-300}
NODES=(a b c)
FEDSX_PAIR_DIR=
declare -A URL

finish() {
  local status=$? name
  trap - EXIT
  touch "$FEDSX_PAIR_DIR/over" 2>/dev/null || true
  wait "${WORKERS[@]}" 2>/dev/null || true
  for name in "${NODES[@]}"; do
    ((status == 0)) || show_log "$name" 15
    stop_node "$name" || true
  done
  if [[ -n ${FEDSX_KEEP:-} || $status != 0 ]]; then
    say "kept: $FEDSX_PAIR_DIR"
  else
    rm -rf "$FEDSX_PAIR_DIR"
  fi
  exit "$status"
}

# secret ACTOR
secret() { printf '%s-soak-secret-0123456789\n' "$1"; }

# The actors of an instance: two that publish, and one that comes and goes.
publishers() { printf '%s1\n%s2\n' "$1" "$1"; }
everyone() {
  local node
  for node in "${NODES[@]}"; do publishers "$node"; done
}
wanderer() { printf '%s9\n' "$1"; }

home() { printf '%s\n' "${1:0:1}"; }
actor_id() { printf '%s/actors/%s\n' "${URL[$(home "$1")]}" "$1"; }

run_node() {
  local name=$1 actor tokens=()
  for actor in $(publishers "$name") "$(wanderer "$name")"; do
    tokens+=("$actor=$(secret "$actor"):publish,read")
  done
  tokens+=("operator$name=$(secret operator):read,admin")
  start_node "$name" "${tokens[@]}"
}

over() { [[ -e $FEDSX_PAIR_DIR/over ]]; }

# insist ACTOR KEY REQUEST: publishes until it is acknowledged; prints the answer. A refusal that is
# not about the moment is an error.
insist() {
  local url status response
  url=${URL[$(home "$1")]}/activity
  while :; do
    response=$(curl -sS --max-time 20 -w '\n%{http_code}' -H 'Content-Type: application/json' \
      -H "Authorization: Bearer $(secret "$1")" -H "Idempotency-Key: $2" \
      --data-binary "$3" "$url" 2>/dev/null) || response=$'\n000'
    status=${response##*$'\n'}
    case $status in
      200 | 201)
        printf '%s\n' "${response%$'\n'*}"
        return
        ;;
      000 | 429 | 503) sleep 0.3 ;;
      *)
        say "$1 publishes $3: $response"
        touch "$FEDSX_PAIR_DIR/failed"
        return 1
        ;;
    esac
  done
}

# pick WORD...: one of them.
pick() {
  local words=("$@")
  printf '%s\n' "${words[RANDOM % ${#words[@]}]}"
}

# publisher ACTOR SEED: what is acknowledged is written down as `audience id`, where the audience is
# `all` or an actor.
publisher() {
  local actor=$1 number=0 made id object=none liked=none other request
  local acknowledged=$FEDSX_PAIR_DIR/acknowledged.$actor
  RANDOM=$2
  until over; do
    number=$((number + 1))
    other=$(pick $(everyone | grep -v "^$actor$"))
    case $((RANDOM % 20)) in
      0 | 1 | 2 | 3)
        request=$(jq -cn --arg to "$(actor_id "$other")" --arg text "$actor to $other, $number" \
          '{type: "Create", to: [$to], object: {type: "Note", content: $text}}')
        ;;
      4 | 5)
        [[ $object != none ]] || continue
        request=$(jq -cn --arg id "$object" --arg text "$actor changes, $number" \
          '{type: "Update", object: {id: $id, type: "Note", content: $text}}')
        other=all
        ;;
      6)
        [[ $object != none ]] || continue
        request=$(jq -cn --arg id "$object" '{type: "Delete", object: $id}')
        object=none other=all
        ;;
      7 | 8)
        request=$(tail -n 20 "$FEDSX_PAIR_DIR/acknowledged.$other" 2>/dev/null |
          awk '$1 == "all" && $3 != "-" { print $3 }' | tail -n 1)
        [[ -n $request ]] || continue
        request=$(jq -cn --arg id "$request" --arg to "$(actor_id "$other")" \
          '{type: "Like", object: $id, to: [$to]}')
        ;;
      9)
        [[ $liked != none ]] || continue
        read -r other liked <<<"$liked"
        request=$(jq -cn --arg id "$liked" --arg to "$(actor_id "$other")" \
          '{type: "Undo", object: $id, to: [$to]}')
        liked=none
        ;;
      10)
        # Rarely: each makes keys.
        ((RANDOM % 4 == 0)) || continue
        request=$(jq -cn --arg actor "$actor" '{type: "Update", object: $actor,
          patch: {add_publicKey: {generate: true}, supersede: {}}}')
        other=all
        ;;
      *)
        request=$(jq -cn --arg text "$actor says, $number" \
          '{type: "Create", object: {type: "Note", content: $text}}')
        other=all
        ;;
    esac
    made=$(insist "$actor" "$actor-$number" "$request") || return 1
    id=$(jq -r .id <<<"$made")
    if [[ $request == *'"Create"'* && $other == all ]]; then
      object=$(jq -r .object <<<"$made")
      printf '%s %s %s\n' "$other" "$id" "$object" >>"$acknowledged"
    else
      [[ $request != *'"type":"Like"'* ]] || liked="$other $id"
      printf '%s %s -\n' "$other" "$id" >>"$acknowledged"
    fi
    sleep "0.0$((RANDOM % 9 + 1))"
  done
}

# wander ACTOR SEED: follows somebody elsewhere, and after a while no more.
wander() {
  local actor=$1 number=0 other follow
  RANDOM=$2
  until over; do
    number=$((number + 1))
    other=$(pick $(everyone | grep -v "^$(home "$actor")"))
    follow=$(insist "$actor" "$actor-f$number" \
      "$(jq -cn --arg id "$(actor_id "$other")" '{type: "Follow", object: $id}')") || return 1
    sleep "0.$((RANDOM % 9))"
    ((RANDOM % 4)) || continue
    insist "$actor" "$actor-u$number" \
      "$(jq -cn --arg id "$(jq -r .id <<<"$follow")" '{type: "Undo", object: $id}')" >/dev/null ||
      return 1
  done
}

# Kills one instance after the other until the time is over.
kill_and_start() {
  local name dir kills=0
  RANDOM=$1
  while ((SECONDS < UNTIL)); do
    sleep "$((RANDOM % 4 + 2)).$((RANDOM % 10))"
    name=$(pick "${NODES[@]}")
    dir=$(node_dir "$name")
    kill -KILL "$(cat "$dir/pid")"
    poll 10 "$name ends" has_ended "$dir"
    kills=$((kills + 1))
    sleep "$((RANDOM % 3)).$((RANDOM % 10))"
    run_node "$name"
  done
  KILLS=$kills
}

# Whether nothing waits for delivery anywhere.
at_rest() {
  local name peers
  for name in "${NODES[@]}"; do
    peers=$(get "${URL[$name]}/admin/peers" "$(secret operator)") || return 1
    jq -e '[.items[] | .queued + .in_flight] | add // 0 | . == 0' <<<"$peers" || return 1
  done
}

# pages URL TOKEN: the items of a paged collection, one JSON document a line.
pages() {
  local url=$1 page
  while [[ -n $url ]]; do
    page=$(get "$url" "$2") || return 1
    jq -c '.orderedItems[]' <<<"$page"
    url=$(jq -r '.next // empty' <<<"$page")
  done
}

# What each inbox holds, by id, as often as it holds it.
read_inboxes() {
  local actor
  for actor in $(everyone); do
    pages "$(actor_id "$actor")/inbox?page=true&limit=100" "$(secret "$actor")" |
      jq -r '"\(.id) \(.actor)"' >"$FEDSX_PAIR_DIR/inbox.$actor"
  done
  for actor in "${NODES[@]}"; do
    get "${URL[$actor]}/admin/dead-letter?limit=1000" "$(secret operator)" |
      jq -r '.. | strings | select(contains("/activities/"))'
  done | sort -u >"$FEDSX_PAIR_DIR/dead"
}

# Compares what was acknowledged with what arrived.
compare() {
  local author audience id reader times
  for author in $(everyone); do
    [[ -s $FEDSX_PAIR_DIR/acknowledged.$author ]] || continue
    for reader in $(everyone | grep -v "^$author$"); do
      awk -v reader="$reader" -v author="$author" '
        FILENAME ~ /inbox\./ { held[$1]++; next }
        FILENAME ~ /dead$/ { dead[$1] = 1; next }
        $1 == "all" || $1 == reader {
          if (held[$2] == 1) print "found"
          else if (held[$2] > 1) print "doubled " author " " $2 " " reader
          else if ($2 in dead) print "dead"
          else print "lost " author " " $2 " " reader
          next
        }
        held[$2] { print "leaked " author " " $2 " " reader }
      ' "$FEDSX_PAIR_DIR/inbox.$reader" "$FEDSX_PAIR_DIR/dead" \
        "$FEDSX_PAIR_DIR/acknowledged.$author"
    done
  done
}

# The edges between actors of two instances, as one of them sees them: `follower followed`.
edges() {
  local at=$1 listing=$2 follower=$3 followed=$4 after='' page
  while :; do
    page=$(get "${URL[$at]}/projections/follower-graph?key=$listing&limit=1000$after")
    jq -r --arg listing "$listing" --arg follower "${URL[$follower]}/" \
      --arg followed "${URL[$followed]}/" '.items[].key
      | if $listing == "following" then [.[1], .[2]] else [.[2], .[1]] end
      | select((.[0] | startswith($follower)) and (.[1] | startswith($followed))) | join(" ")' \
      <<<"$page"
    after=$(jq -r '.next // empty' <<<"$page")
    [[ -n $after ]] || break
    after="&after=$(urlencode "$after")"
  done | sort
}

graphs_agree() {
  local one other
  for one in "${NODES[@]}"; do
    for other in "${NODES[@]}"; do
      [[ $one != "$other" ]] || continue
      diff <(edges "$one" following "$one" "$other") \
        <(edges "$other" followers "$one" "$other") >"$FEDSX_PAIR_DIR/graph.$one$other" || return 1
    done
  done
}

need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
FEDSX_PAIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-soak.XXXXXX")
export FEDSX_PAIR_DIR
WORKERS=()
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

printf 'seed %s, %s minutes\n' "$SEED" "$MINUTES"
for name in "${NODES[@]}"; do
  run_node "$name"
  URL[$name]=$(url_of "$name")
done
for actor in $(everyone) $(for name in "${NODES[@]}"; do wanderer "$name"; done); do
  insist "$actor" "$actor-create" \
    "$(jq -cn --arg name "$actor" '{type: "Create", object: {type: "Person", name: $name}}')" \
    >/dev/null
done
for actor in $(everyone); do
  for other in $(everyone | grep -v "^$actor$"); do
    insist "$actor" "$actor-follows-$other" \
      "$(jq -cn --arg id "$(actor_id "$other")" '{type: "Follow", object: $id}')" >/dev/null
  done
done
for actor in $(everyone); do
  await 60 "all follow $actor" "$(actor_id "$actor")/followers" "$(secret "$actor")" \
    '.totalItems == 5'
done

UNTIL=$((SECONDS + MINUTES * 60))
KILLS=0
number=0
for actor in $(everyone); do
  number=$((number + 1))
  publisher "$actor" $((SEED + number)) &
  WORKERS+=("$!")
done
for name in "${NODES[@]}"; do
  number=$((number + 1))
  wander "$(wanderer "$name")" $((SEED + number)) &
  WORKERS+=("$!")
done
kill_and_start "$SEED"
touch "$FEDSX_PAIR_DIR/over"
wait "${WORKERS[@]}"
WORKERS=()
[[ ! -e $FEDSX_PAIR_DIR/failed ]] || { say 'a request was refused' && exit 1; }

poll "$REST_S" 'nothing waits for delivery' at_rest || say 'some deliveries still wait'
poll 60 'the graphs of both sides agree' graphs_agree || true
read_inboxes
compare >"$FEDSX_PAIR_DIR/outcome"
count() { grep -c "^$1" "$FEDSX_PAIR_DIR/outcome" || true; }
graphs=agree
graphs_agree || graphs=differ
verified=0
for name in "${NODES[@]}"; do
  stop_node "$name"
  if "$FEDSX_BIN" verify --data "$(data_of "$name")" >"$FEDSX_PAIR_DIR/verify.$name" 2>&1; then
    verified=$((verified + 1))
  else
    tail -n 5 "$FEDSX_PAIR_DIR/verify.$name" >&2
  fi
done

acknowledged=$(cat "$FEDSX_PAIR_DIR"/acknowledged.* | wc -l)
printf 'kills %s, acknowledged %s, found %s, dead letters %s, lost %s, doubled %s, leaked %s, ' \
  "$KILLS" "$acknowledged" "$(count found)" "$(count dead)" "$(count lost)" "$(count doubled)" \
  "$(count leaked)"
printf 'graphs %s, verified %s of 3\n' "$graphs" "$verified"
if (($(count lost) + $(count doubled) + $(count leaked) > 0)) || [[ $graphs != agree ]] ||
  ((verified != 3 || acknowledged == 0 || KILLS == 0)); then
  grep -hE '^(lost|doubled|leaked)' "$FEDSX_PAIR_DIR/outcome" | head -n 10 >&2 || true
  cat "$FEDSX_PAIR_DIR"/graph.* >&2
  exit 1
fi
