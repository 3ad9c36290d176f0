#!/usr/bin/env bash
# Stops the two instances in FEDSX_PAIR_DIR and waits until both have drained. Their data stays.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ -n ${FEDSX_PAIR_DIR:-} ]] || die "FEDSX_PAIR_DIR does not say which pair"
[[ -d $FEDSX_PAIR_DIR ]] || die "there is no $FEDSX_PAIR_DIR"
status=0
stop_node a || status=1
stop_node b || status=1
exit "$status"
