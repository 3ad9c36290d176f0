#!/usr/bin/env bash
# All drills, one after the other: what an operator may have to live through, on instances of their
# own. plans/operations.md says what each one shows. Arguments name some of them: `drills.sh moved`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
FEDSX_BIN=$(build)
export FEDSX_BIN
if (($# == 0)); then
  set -- old_format restore master_key lost_token moved clock copied deleted
fi
for name in "$@"; do
  "$ROOT/scripts/drill_$name.sh"
done
