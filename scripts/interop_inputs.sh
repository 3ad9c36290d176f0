#!/usr/bin/env bash
# Writes plans/interop-inputs.md anew: what becomes of the example objects of other authors.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
want_pip
cd "$ROOT"
FEDSX_WRITE_INTEROP_INPUTS=1 cargo test --test blackbox interop_inputs
git --no-pager diff --stat -- plans/interop-inputs.md || true
