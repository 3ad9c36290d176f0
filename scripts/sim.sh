#!/usr/bin/env bash
# The simulation over many seeds: scripts/sim.sh [SEEDS [FIRST]]
#
#   FEDSX_SIM_SEED=N   replays one seed and prints its trace
#   FEDSX_SIM_PROFILE  Cargo profile to build with (dev); `release` pays from some hundred seeds on
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
cd "$ROOT"
export FEDSX_SIM_SEEDS=${1:-50} FEDSX_SIM_FROM=${2:-0}
profile=(--profile "${FEDSX_SIM_PROFILE:-dev}")
if [[ -n ${FEDSX_SIM_SEED:-} ]]; then
  exec cargo test "${profile[@]}" --test sim replay -- --exact --nocapture
fi
exec cargo test "${profile[@]}" --test sim seeds_ -- --nocapture --test-threads "$(nproc)"
