#!/usr/bin/env bash
# Builds and runs the fuzz targets; needs a nightly toolchain and a C++ compiler, not cargo-fuzz. See README.md.
#
#   run.sh build                       builds all targets
#   run.sh run TARGET [ARGUMENT...]    fuzzes one target, or runs the files given
#   run.sh all SECONDS                 fuzzes each target for so long, two at a time
#   run.sh long SECONDS [TARGET...]    the same one at a time with the lowest priority; prints a table
#   run.sh list                        names the targets
#
# RUNS=N takes at most so many inputs, fewer for the slow targets, 0 only those that are there. SEED=N draws the same ones
# again from the same corpus (libFuzzer's -seed). SANITIZER=address finds more in dependencies with unsafe
# code, and is several times slower. PROFILE=quick builds in less time what runs slower.
set -euo pipefail
cd "$(dirname "$0")"

host=$(rustc -vV | sed -n 's/^host: //p')
sanitizer=${SANITIZER:-none}
profile=${PROFILE:-release}
built=${CARGO_TARGET_DIR:-target}/$sanitizer
# What cargo-fuzz passes: coverage counters for libFuzzer, comparisons traced so that it can solve them.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
[ "$sanitizer" = none ] || flags+=" -Zsanitizer=$sanitizer"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_odr_violation=0}

# Inputs of a fast target in the time of one of this target.
cost() {
  case $1 in
  later_frames | stored_state) echo 200 ;;
  config_text | connect_params | scenario_file) echo 30 ;;
  first_frame | node_commands) echo 10 ;;
  *) echo 1 ;;
  esac
}

targets() { sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml; }

build() {
  RUSTFLAGS="$flags" CARGO_INCREMENTAL=0 cargo +nightly build --quiet --locked --profile "$profile" --bins --target "$host" --target-dir "$built"
}

# Fuzzes $1; new inputs go to corpus/, which is not in the repository, what breaks to artifacts/.
fuzz() {
  local target=$1 dictionary=()
  shift
  mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
  [ ! -f "dictionaries/$target.dict" ] || dictionary=("-dict=dictionaries/$target.dict")
  "$built/$host/$profile/$target" -artifact_prefix="artifacts/$target/" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -print_final_stats=1 "${dictionary[@]}" "$@"
}

# The same for $2 seconds, its output in artifacts/TARGET.log; says one line, and all of them when something was found.
timed() {
  local target=$1 seconds=$2 log=artifacts/$1.log started=artifacts/$1.started most=${RUNS:+$((RUNS / $(cost "$1")))}
  mkdir -p artifacts "corpus/$target"
  touch "$started"
  if fuzz "$target" -max_total_time="$seconds" ${most:+-runs="$most"} ${SEED:+-seed="$SEED"} -verbosity=0 "corpus/$target" "seeds/$target" >"$log" 2>&1; then
    awk -v t="$target" -v most="${most:-0}" '
      /number_of_executed_units/ { runs = $2 } /average_exec_per_sec/ { speed = $2 } /peak_rss_mb/ { rss = $2 }
      END {
        printf "%-18s %12d executions %9d/s %5d MB%s\n", t, runs, speed, rss, runs < most ? " (out of time)" : ""
      }' "$log"
  else
    tail -n 60 "$log"
    # Whole, for whoever has only the output: `base64 -d` makes the file again.
    local input
    for input in "artifacts/$target"/*; do
      if [ "$input" -nt "$started" ]; then printf '%s: %s\n' "$input" "$(base64 <"$input" | tr -d '\n')"; fi
    done
    echo "$target: an input that breaks it is under fuzz/artifacts/$target" >&2
    return 1
  fi
}

case ${1:-} in
build) build ;;
list) targets ;;
run)
  build
  target=$2
  shift 2
  if [ $# = 0 ]; then set -- "corpus/$target" "seeds/$target"; mkdir -p "$@"; fi
  fuzz "$target" "$@"
  ;;
all)
  build
  export -f fuzz timed cost
  export built host profile RUNS SEED
  targets | xargs -P 2 -I{} bash -c 'timed {} '"$2"
  ;;
long)
  seconds=$2
  shift 2
  build
  for target in "${@:-$(targets)}"; do
    # shellcheck disable=SC2086 # several names
    for one in $target; do renice -n 19 $$ >/dev/null; timed "$one" "$seconds"; done
  done
  ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  exit 2
  ;;
esac
