#!/usr/bin/env bash
# The long forms of what .ci/run does in short, and what it leaves out. Every part runs even where
# an earlier one failed; the exit status says whether all passed.
#
#   NIGHTLY_SMOKE_RUNS   runs of the smoke script (5)
#   PROPTEST_CASES       cases of each property test (4096)
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
cd "$ROOT" || exit 1
export PROPTEST_CASES=${PROPTEST_CASES:-4096}
export NEXTEST_PROFILE=nightly
failed=()
missing=()

# part TITLE COMMAND...
part() {
  local title=$1 began=$SECONDS outcome=passed
  shift
  printf '== %s\n' "$title"
  "$@" </dev/null || { outcome=failed && failed+=("$title"); }
  printf '== %s: %s after %d s\n' "$title" "$outcome" "$((SECONDS - began))"
}

# later SCRIPT ARGUMENTS...: a part that another milestone brings; says so while it is not there.
later() {
  if [[ -x $1 ]]; then part "$*" "$@"; else missing+=("$1"); fi
}

part "tests with $PROPTEST_CASES cases for each property" scripts/test.sh
for ((run = 1; run <= ${NIGHTLY_SMOKE_RUNS:-5}; run++)); do
  part "smoke_federate.sh, run $run" scripts/smoke_federate.sh
done
part 'smoke_federate.sh, release build' env FEDSX_PROFILE=release scripts/smoke_federate.sh
if cargo deny --version >/dev/null 2>&1; then
  part 'cargo deny' cargo deny check
else
  missing+=('cargo deny, which is not installed')
fi
part 'simulation, 1000 seeds' scripts/sim.sh 1000
part 'crash torture, 200 rounds' scripts/torture.sh 200
part 'three instances for 30 minutes' scripts/soak.sh 30
later scripts/bench_log.sh
missing+=('browsers' 'packages')

printf 'not there yet: %s\n' "${missing[@]}"
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
echo 'all passed'
