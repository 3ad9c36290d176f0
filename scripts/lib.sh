# shellcheck shell=bash
# Functions that the scripts share. Source it after `set -euo pipefail`.
#
# A pair of instances lives in the directory FEDSX_PAIR_DIR, one folder for each node:
#   data/    the data directory        port     its port, kept over restarts
#   stdout   what it printed           log      what it logged
#   pid      its process               exit     its exit status, once it has ended

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT

# Seconds that a node may take to answer /readyz, and to drain.
START_DEADLINE_S=${FEDSX_START_DEADLINE_S:-60}
STOP_DEADLINE_S=${FEDSX_STOP_DEADLINE_S:-30}
# Pauses between delivery attempts: short, since both ends are on this machine.
DELIVERY_SCHEDULE=${FEDSX_DELIVERY_SCHEDULE:-200ms,1s,2s,5s,10s}

# Development tokens. The pair listens on loopback only.
SCOPES=publish,read,define,admin
TOKEN_ALICE=alice-development-secret
TOKEN_BOB=bob-development-secret
TOKEN_CAROL=carol-development-secret
export SCOPES TOKEN_ALICE TOKEN_BOB TOKEN_CAROL

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$@"
  exit 2
}

# Installs, by apt where it may, what the build and the scripts need and the machine lacks.
# Otherwise it prints the line that does, and exits with 2.
need_tools() {
  local packages=()
  if [[ -z ${FEDSX_BIN:-} ]]; then
    need_rust
    command -v cc >/dev/null || packages+=(build-essential)
    if [[ $(uname -s) == Linux ]]; then
      if ! command -v pkg-config >/dev/null; then
        packages+=(pkg-config libssl-dev)
      elif ! pkg-config --exists openssl; then
        packages+=(libssl-dev)
      fi
    fi
  fi
  command -v curl >/dev/null || packages+=(curl)
  command -v jq >/dev/null || packages+=(jq)
  ((${#packages[@]})) || return 0

  if command -v apt-get >/dev/null; then
    by_apt "${packages[@]}" || die "missing; run: sudo apt-get install -y ${packages[*]}"
  elif command -v dnf >/dev/null; then
    die "missing; run: sudo dnf install -y gcc make pkgconf-pkg-config openssl-devel curl jq"
  elif command -v pacman >/dev/null; then
    die "missing; run: sudo pacman -S --needed base-devel openssl curl jq"
  elif command -v apk >/dev/null; then
    die "missing; run: apk add build-base pkgconf openssl-dev curl jq"
  elif command -v brew >/dev/null; then
    die "missing; run: brew install curl jq"
  else
    die "missing (Debian names): ${packages[*]}; install them with this system's package manager"
  fi
}

# by_apt PACKAGE...: installs them, where there is apt and one may; says so before. Fails otherwise.
by_apt() {
  command -v apt-get >/dev/null || return 1
  [[ $(id -u) == 0 ]] || sudo -n true 2>/dev/null || return 1
  say "installing by apt: $*"
  # An update that fails for one of several sources is no reason to give up.
  as_root apt-get update -qq </dev/null >&2 || true
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

# The clock of a process can be set by libfaketime; prints where it is. Without it the drills that
# need it say that they were skipped.
want_faketime() {
  find_faketime || { by_apt faketime && find_faketime; }
}

find_faketime() {
  local file
  for file in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1; do
    if [[ -e $file ]]; then
      printf '%s\n' "$file"
      return 0
    fi
  done
  return 1
}

# Programs of other authors, which the tests run, come from npm. Without it those tests say that they
# were skipped, so its absence stops nothing.
want_npm() {
  command -v npm >/dev/null || by_apt nodejs npm ||
    say 'npm is missing: the tests with programs of other authors will be skipped'
}

# Data of other authors, which the tests deliver, comes from PyPI; the same holds.
want_pip() {
  python3 -m pip --version >/dev/null 2>&1 || by_apt python3 python3-pip ||
    say 'pip is missing: the tests with data of other authors will be skipped'
}

# What is synced before an answer is seen by strace; the same holds.
want_strace() {
  command -v strace >/dev/null || by_apt strace ||
    say 'strace is missing: the tests of what is synced before an answer will be skipped'
}

# Counting instructions needs valgrind.
want_valgrind() {
  command -v valgrind >/dev/null || by_apt valgrind libc6-dbg ||
    die 'valgrind is missing; run: sudo apt-get install -y valgrind libc6-dbg'
}

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi; }

need_rust() {
  command -v cargo >/dev/null && return 0
  local cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
  if [[ -x $cargo_bin/cargo ]]; then
    PATH=$cargo_bin:$PATH
    export PATH
    return 0
  fi
  die "Rust is missing; install it as https://rustup.rs says, then run this again"
}

# Builds the fedsx binary and prints its path. FEDSX_PROFILE names the cargo profile; FEDSX_BIN
# names a binary that is there already.
build() {
  if [[ -n ${FEDSX_BIN:-} ]]; then
    printf '%s\n' "$FEDSX_BIN"
    return 0
  fi
  local profile=${FEDSX_PROFILE:-dev} target folder
  (cd "$ROOT" && cargo build --quiet --bin fedsx --profile "$profile") >&2 || return 1
  target=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 | jq -r .target_directory) ||
    return 1
  case $profile in
    dev | test) folder=debug ;;
    bench) folder=release ;;
    *) folder=$profile ;;
  esac
  printf '%s\n' "$target/$folder/fedsx"
}

# poll SECONDS WHAT COMMAND...: runs the command every 0.1 s until it succeeds.
poll() {
  local deadline=$((SECONDS + $1)) seconds=$1 what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      say "not within $seconds s: $what"
      return 1
    fi
    sleep 0.1
  done
}

node_dir() { printf '%s\n' "$FEDSX_PAIR_DIR/$1"; }
data_of() { printf '%s\n' "$FEDSX_PAIR_DIR/$1/data"; }
port_of() { cat "$FEDSX_PAIR_DIR/$1/port"; }
url_of() { printf 'http://localhost:%s\n' "$(port_of "$1")"; }

has_ended() { [[ -e $1/exit ]]; }

# Whether a node has printed its address, or has ended before it could.
spoke_or_ended() { [[ $(head -n 1 "$1/stdout" 2>/dev/null) == listening\ on\ * ]] || has_ended "$1"; }

# start_node NAME TOKEN...: starts the instance NAME with FEDSX_BIN and waits until it is ready.
# A node that ran before gets its port again, so that its addresses stay true. A file base in its
# folder holds another base URL than that of its port. The arrays NODE_ARGS and NODE_ENV hold further
# arguments, and variables.
NODE_ARGS=()
NODE_ENV=()
start_node() {
  local name=$1 dir port line arguments base='' bin=$FEDSX_BIN
  dir=$(node_dir "$1")
  shift
  if [[ -e $dir/pid ]] && ! has_ended "$dir" && kill -0 "$(cat "$dir/pid")" 2>/dev/null; then
    say "$name runs already"
    is_ready "$name" >/dev/null
    return
  fi
  mkdir -p "$dir/data"
  rm -f "$dir/exit" "$dir/pid" "$dir/stdout"
  : >"$dir/stdout"
  arguments=(--data "$dir/data" --allow-private-network --allow-http
    --delivery-schedule "$DELIVERY_SCHEDULE")
  if [[ -s $dir/port ]]; then
    port=$(cat "$dir/port")
    arguments+=(--listen "127.0.0.1:$port")
    base=http://localhost:$port
  else
    arguments+=(--listen 127.0.0.1:0)
  fi
  [[ ! -s $dir/base ]] || base=$(cat "$dir/base")
  [[ -z $base ]] || arguments+=(--base-url "$base")
  arguments+=("${NODE_ARGS[@]}")
  for line in "$@"; do
    arguments+=(--token "$line")
  done
  # Settings of the caller's environment are for another instance. The subshell outlives this
  # script and notes how the node ended.
  (
    trap '' HUP INT
    unset "${!FEDSX_@}"
    export NO_COLOR=1
    env "${NODE_ENV[@]}" "$bin" serve "${arguments[@]}" &
    printf '%s\n' "$!" >"$dir/pid"
    status=0
    wait "$!" || status=$?
    printf '%s\n' "$status" >"$dir/exit"
  ) </dev/null >"$dir/stdout" 2>>"$dir/log" &
  poll "$START_DEADLINE_S" "$name prints its address" spoke_or_ended "$dir" || return 1
  line=$(head -n 1 "$dir/stdout")
  if [[ $line != listening\ on\ http://*:* ]]; then
    say "$name did not start: $(tail -n 3 "$dir/log")"
    return 1
  fi
  printf '%s\n' "${line##*:}" >"$dir/port"
  poll "$START_DEADLINE_S" "$name is ready" ready_or_ended "$name" || return 1
  if has_ended "$dir"; then
    say "$name ended while starting: $(tail -n 3 "$dir/log")"
    return 1
  fi
}

is_ready() { curl -fsS --max-time 5 "$(url_of "$1")/readyz"; }
ready_or_ended() { is_ready "$1" || has_ended "$(node_dir "$1")"; }

# stop_node NAME: asks the node to drain, waits, and fails unless it ended with 0.
stop_node() {
  local name=$1 dir pid status
  dir=$(node_dir "$name")
  [[ -e $dir/pid ]] || return 0
  pid=$(cat "$dir/pid")
  if ! has_ended "$dir"; then
    kill -TERM "$pid" 2>/dev/null || true
    if ! poll "$STOP_DEADLINE_S" "$name drains" has_ended "$dir"; then
      kill -KILL "$pid" 2>/dev/null || true
      rm -f "$dir/pid"
      return 1
    fi
  fi
  rm -f "$dir/pid"
  status=$(cat "$dir/exit")
  if [[ $status != 0 ]]; then
    say "$name ended with status $status"
    return 1
  fi
}

# kill_node NAME: ends the node without a word, and waits until it is gone.
kill_node() {
  local dir
  dir=$(node_dir "$1")
  kill -KILL "$(cat "$dir/pid")"
  poll "$STOP_DEADLINE_S" "$1 is gone" has_ended "$dir"
  rm -f "$dir/pid"
}

# Shows the end of a node's log.
show_log() {
  local file
  file=$(node_dir "$1")/log
  say "--- the last lines of $1's log"
  if [[ -s $file ]]; then tail -n "${2:-40}" "$file" >&2; else say "(empty)"; fi
}

# call METHOD URL TOKEN [BODY]: prints the status on the first line, then the body. An empty token
# sends none.
call() {
  local arguments=(-sS --max-time 30 -X "$1" -w '\n%{http_code}') answer
  arguments+=(-H 'Accept: application/activity+json, application/json')
  [[ -z $3 ]] || arguments+=(-H "Authorization: Bearer $3")
  [[ $# -lt 4 ]] || arguments+=(-H 'Content-Type: application/json' --data-binary "$4")
  answer=$(curl "${arguments[@]}" "$2") || return 1
  printf '%s\n%s\n' "${answer##*$'\n'}" "${answer%$'\n'*}"
}

# answer STATUS METHOD URL TOKEN [BODY]: prints the body of an answer that has this status; any
# other status is an error that shows request and answer.
answer() {
  local wanted=$1 response status
  shift
  response=$(call "$@") || return 1
  status=${response%%$'\n'*}
  if [[ $status != "$wanted" ]]; then
    say "$1 $2 ${4:-}"
    say "answered $status, not $wanted: ${response#*$'\n'}"
    return 1
  fi
  printf '%s\n' "${response#*$'\n'}"
}

# publish BASE TOKEN ACTIVITY: prints {id, cid, seq, global_seq}.
publish() { answer 201 POST "$1/activity" "$2" "$3"; }

# get URL [TOKEN]: prints the body of a 200 answer.
get() { answer 200 GET "$1" "${2:-}"; }

# expect JSON EXPRESSION [jq arguments]: fails, and shows both, unless the expression holds.
expect() {
  local json=$1 expression=$2
  shift 2
  if ! jq -e "$@" "$expression" >/dev/null <<<"$json"; then
    say "does not hold: $expression $*"
    say "of: $(jq -c . <<<"$json" 2>/dev/null || printf '%s' "$json")"
    return 1
  fi
}

# finds URL TOKEN EXPRESSION [jq arguments]: whether the expression holds of what is served.
finds() {
  local url=$1 token=$2 expression=$3 json
  shift 3
  json=$(get "$url" "$token") || return 1
  jq -e "$@" "$expression" <<<"$json"
}

# await SECONDS WHAT URL TOKEN EXPRESSION [jq arguments]: polls until the expression holds; shows
# what is served where it never does.
await() {
  local seconds=$1 what=$2
  shift 2
  if ! poll "$seconds" "$what" finds "$@"; then
    say "GET $1 served: $(get "$1" "$2" || true)"
    return 1
  fi
}

# arrives URL TOKEN ID: waits until an inbox has an activity.
arrives() {
  await "$DEADLINE_S" "$1 receives $3" "$1/inbox?page=true&limit=100" "$2" \
    '.orderedItems[] | select(.id == $id)' --arg id "$3"
}

# A text as part of a query string.
urlencode() { jq -rn --arg text "$1" '$text | @uri'; }
