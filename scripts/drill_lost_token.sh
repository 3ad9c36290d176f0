#!/usr/bin/env bash
# The last token that may operate the instance is lost: who has the data directory gets back in.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=drill_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/drill_lib.sh"

locked_out() {
  start_node a
  A=$(url_of a)
  answer 401 GET "$A/admin/tokens" "$TOKEN_ALICE" >/dev/null
  refuses 'in use' fedsx token issue operator --scope admin --data "$(data_of a)"
}

back_in() {
  stop_node a
  SECRET=$(fedsx token issue operator --scope admin --label 'way back in' --expires 1h \
    --data "$(data_of a)" 2>/dev/null)
  start_node a
  fedsx actor create alice --url "$A" --token "$SECRET" >/dev/null
}

tidied() {
  local id
  id=$(get "$A/token" "$SECRET" | jq -r .token_id)
  fedsx token revoke "$id" --url "$A" --token "$SECRET" >/dev/null
  expect "$(answer 401 GET "$A/admin/tokens" "$SECRET")" '.failed_check == "revocation"'
  sound a
}

drill 'lost token' a
step 'no token opens the instance, and its data is in use' locked_out
step 'a token is written into the data directory of the stopped instance' back_in
step 'it is revoked like any other' tidied
