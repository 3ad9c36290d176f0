# shellcheck shell=bash
# What the drills share: a place of their own, steps, and cleaning up. Source it after
# `set -euo pipefail`, then say `drill NAME NODE...`; plans/operations.md says what each one shows.
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Seconds within which something must have its effect.
DEADLINE_S=${FEDSX_DRILL_DEADLINE_S:-60}
DRILL=
STEP=
NODES=()
FEDSX_PAIR_DIR=

# drill NAME NODE...: the drill begins; its instances are stopped when the script ends.
drill() {
  DRILL=$1
  shift
  NODES=("$@")
  need_tools
  FEDSX_BIN=$(build)
  export FEDSX_BIN
  trap finish_drill EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  FEDSX_PAIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fedsx-drill.XXXXXX")
  export FEDSX_PAIR_DIR
}

finish_drill() {
  local status=$? name
  trap - EXIT
  if ((status != 0)); then
    [[ -z $STEP ]] || printf 'not ok %s: %s\n' "$DRILL" "$STEP"
    for name in "${NODES[@]}"; do show_log "$name" 30; done
  fi
  for name in "${NODES[@]}"; do stop_node "$name" || true; done
  if [[ -n ${FEDSX_KEEP:-} ]]; then
    say "kept: $FEDSX_PAIR_DIR"
  else
    rm -rf "$FEDSX_PAIR_DIR"
  fi
  exit "$status"
}

# step TITLE FUNCTION
step() {
  STEP=$1
  "$2"
  printf 'ok %s: %s\n' "$DRILL" "$STEP"
  STEP=
}

# fedsx ARGUMENT...: the program, with nothing of the caller's surroundings.
fedsx() {
  (
    bin=$FEDSX_BIN
    unset "${!FEDSX_@}"
    FEDSX_PROFILES=/nonexistent NO_COLOR=1 "$bin" "$@"
  )
}

# refuses TEXT COMMAND...: the command must fail and say this.
refuses() {
  local wanted=$1 out
  shift
  if out=$("$@" 2>&1); then
    say "went through: $*"
    say "$out"
    return 1
  fi
  if [[ $out != *"$wanted"* ]]; then
    say "does not say: $wanted"
    say "$out"
    return 1
  fi
}

# serve_refused NAME TEXT: the instance must end by itself and say this in its log.
serve_refused() {
  local name=$1 wanted=$2 dir log
  dir=$(node_dir "$name")
  : >"$dir/log"
  if start_node "$name" 2>/dev/null && ! poll "$DEADLINE_S" "$name ends" has_ended "$dir"; then
    return 1
  fi
  log=$(cat "$dir/log")
  rm -f "$dir/pid"
  if [[ $(cat "$dir/exit") == 0 || $log != *"$wanted"* ]]; then
    say "$name ended with $(cat "$dir/exit") and does not say: $wanted"
    say "$log"
    return 1
  fi
}

# a_person BASE TOKEN NAME
a_person() {
  publish "$1" "$2" \
    "$(jq -cn --arg name "$3" '{type: "Create", object: {type: "Person", name: $name}}')" >/dev/null
}

# a_note BASE TOKEN TEXT: prints what the publish answered.
a_note() {
  publish "$1" "$2" \
    "$(jq -cn --arg text "$3" '{type: "Create", object: {type: "Note", content: $text}}')"
}

# a_pair: alice on A, and bob on B, who follows her.
a_pair() {
  start_node a "alice=$TOKEN_ALICE:$SCOPES"
  start_node b "bob=$TOKEN_BOB:$SCOPES"
  A=$(url_of a)
  B=$(url_of b)
  ALICE=$A/actors/alice
  BOB=$B/actors/bob
  a_person "$A" "$TOKEN_ALICE" alice
  a_person "$B" "$TOKEN_BOB" bob
  publish "$B" "$TOKEN_BOB" "$(jq -cn --arg id "$ALICE" '{type: "Follow", object: $id}')" >/dev/null
  await "$DEADLINE_S" 'bob follows alice' "$ALICE/followers?page=true" '' \
    '.orderedItems | index($bob) != null' --arg bob "$BOB"
  reaches_bob 'before the drill'
}

# reaches_bob TEXT: alice says it, and bob gets it.
reaches_bob() {
  local id
  id=$(a_note "$A" "$TOKEN_ALICE" "$1" | jq -r .id)
  arrives "$BOB" "$TOKEN_BOB" "$id"
}

# equivocations COUNT: what B noted of two statements under one number.
equivocations() {
  await "$DEADLINE_S" "B notes $1 equivocations" "$B/admin/equivocations" "$TOKEN_BOB" \
    '.total == $count' --argjson count "$1"
}

# sound NODE...: stops the instances and verifies all that they hold.
sound() {
  local name
  for name in "$@"; do
    stop_node "$name"
    fedsx verify --data "$(data_of "$name")" >/dev/null
  done
}
