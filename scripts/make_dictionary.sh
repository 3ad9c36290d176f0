#!/usr/bin/env bash
# Makes the dictionary that rows of the store are compressed with:
#   scripts/make_dictionary.sh FILE
# The one in kernel/src/log/sled_store/rows.dict belongs to the format of the data directory and
# stays as it is; another one would be for a new form of rows beside it. Needs the zstd program.
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: scripts/make_dictionary.sh FILE" >&2; exit 2; }
samples=$(mktemp -d)
trap 'rm -rf "$samples"' EXIT
cargo run --release --example dictionary "$samples"
zstd -q --train -r "$samples" --maxdict=16384 -o "$1"
