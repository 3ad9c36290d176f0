#!/usr/bin/env bash
# All tests: with cargo-nextest where it is present, else with cargo test. Arguments are passed on.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
want_npm
want_pip
want_strace
cd "$ROOT"
if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --workspace "$@"
fi
exec cargo test --workspace --no-fail-fast "$@"
