#!/usr/bin/env bash
# Takes each protection out, one at a time, in a copy of the tree, and sees whether the test that guards it fails.
#
#     tests/mutants/run.sh              all of them
#     tests/mutants/run.sh s25 s26      those with one of these in their name
#
# A mutant is a patch: a sentence that says what is wrong with it, a line `Tests: ` with the arguments of one `cargo test`,
# and a unified diff. Without the patch that command has to pass and run a test; with it, it has to compile and fail.
# Ends with 1 when a mutant survives, does not apply or does not compile.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD work=$PWD/target/mutants
tree=$work/tree
export CARGO_TARGET_DIR=$work/build CARGO_TERM_COLOR=never

# The tree as it is now, changes that are not committed included.
rev=$(git stash create) || true
rm -rf "$tree" && mkdir -p "$tree"
git archive "${rev:-HEAD}" | tar -x -C "$tree"
git -C "$tree" init -q

wanted() {
  [ $# -gt 1 ] || return 0
  local name=$1 part
  shift
  for part in "$@"; do case $name in *"$part"*) return 0 ;; esac; done
  return 1
}

ran() { awk '/^test result:/ { n += $4 + $6 } END { print n + 0 }' "$1"; }

found=0 failed=0 log=$work/log
declare -A sound
for patch in "$root"/tests/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  wanted "$name" "$@" || continue
  read -r -a tests <<<"$(sed -n 's/^Tests: //p' "$patch" | head -n 1)"
  key="${tests[*]}"
  say() { printf '%-9s %s (cargo test %s)\n' "$1" "$name" "$key"; }
  cd "$tree"
  if [ -z "${sound[$key]:-}" ]; then
    if cargo test --locked "${tests[@]}" >"$log" 2>&1 && [ "$(ran "$log")" -gt 0 ]; then sound[$key]=yes; else sound[$key]=no; fi
  fi
  if [ "${sound[$key]}" = no ]; then
    say "NO TEST" && failed=$((failed + 1)) && continue
  fi
  if ! git apply -C1 "$patch" 2>"$log"; then
    say "STALE" && failed=$((failed + 1)) && continue
  fi
  if ! cargo test --locked --no-run "${tests[@]}" >"$log" 2>&1; then
    say "BROKEN" && tail -n 20 "$log" && failed=$((failed + 1))
  elif cargo test --locked "${tests[@]}" >"$log" 2>&1; then
    say "SURVIVED" && failed=$((failed + 1))
  else
    say "found" && found=$((found + 1))
  fi
  git apply -C1 -R "$patch"
done
printf '%d found, %d not\n' "$found" "$failed"
[ "$failed" = 0 ]
