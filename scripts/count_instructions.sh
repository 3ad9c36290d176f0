#!/usr/bin/env bash
# Counts the instructions of the hot paths (bench/shared/hot.rs) and compares them with bench/counts.toml:
#   scripts/count_instructions.sh            exit 1 where a path takes more than the tolerance above its count
#   scripts/count_instructions.sh --update   writes the counts anew; the change belongs to the commit that causes it
# Counts repeat where times do not: callgrind shows every machine the same processor, keys, salts and times are fixed. It is
# the development profile that is counted, since that is what the tests have built already: counts are compared with
# themselves, never told as speed.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools
want_valgrind
counts=$ROOT/bench/counts.toml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

(cd "$ROOT" && cargo build --quiet --example bench_counts)
target=$(cd "$ROOT" && cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
program=$target/debug/examples/bench_counts
# Only toggling takes patterns, so the name is that in the program.
function=$(nm "$program" | awk '/counted_path/ { print $3 }')
# One dump is written whenever the function is left: bench/counts.rs says which path it ran.
valgrind --quiet --tool=callgrind --callgrind-out-file="$work/out" --demangle=no \
  --collect-atstart=no --toggle-collect="$function" --zero-before="$function" \
  --dump-after="$function" "$program" >"$work/names" 2>"$work/log" ||
  die "the paths did not run: $(tail -n 5 "$work/log")"
number=0
while read -r name; do
  number=$((number + 1))
  printf '%s %s\n' "$name" "$(awk '/^(totals|summary):/ { print $2; exit }' "$work/out.$number")"
done <"$work/names" >"$work/counted"

compiler=$(rustc --version | cut -d' ' -f2)
if [[ ${1:-} == --update ]]; then
  {
    sed -n '/^#/p' "$counts"
    printf '\ncompiler = "%s"\ntolerance_percent = %s\n\n[instructions]\n' "$compiler" \
      "$(awk '$1 == "tolerance_percent" { print $3 }' "$counts")"
    awk '{ print $1, "=", $2 }' "$work/counted"
  } >"$work/new"
  mv "$work/new" "$counts"
  say "written: $counts"
  exit
fi

tolerance=$(awk '$1 == "tolerance_percent" { print $3 }' "$counts")
other=$(awk -F'"' '/^compiler/ { print $2 }' "$counts")
if [[ $other != "$compiler" ]]; then
  # Another compiler gives other code. What it changes is small against an encoding more, so the guard stays, wider.
  tolerance=$((tolerance * 5))
  say "the counts are those of Rust $other, this is $compiler: the tolerance is $tolerance %; run it with --update"
fi
awk -v tolerance="$tolerance" '
  NR == FNR { if ($2 == "=" && $3 + 0 > 0) expected[$1] = $3; next }
  !($1 in expected) { printf "%-26s %12d  is not in the file\n", $1, $2; failed = 1; next }
  {
    percent = ($2 / expected[$1] - 1) * 100
    verdict = percent > tolerance ? "TOO MANY" : percent < -tolerance ? "fewer: run it with --update" : ""
    if (percent > tolerance) failed = 1
    printf "%-26s %12d of %12d  %+6.2f %%  %s\n", $1, $2, expected[$1], percent, verdict
    delete expected[$1]
  }
  END {
    delete expected["tolerance_percent"]
    for (name in expected) { printf "%-26s was not counted\n", name; failed = 1 }
    exit failed
  }' "$counts" "$work/counted"
