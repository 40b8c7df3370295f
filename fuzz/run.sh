#!/usr/bin/env bash
# Runs the fuzz targets from the seeds that are kept here and from what earlier runs have found.
# It never skips one: what does not build, or crashes, is a failure.
#
#   fuzz/run.sh [SECONDS] [TARGET...]     each target, or those named, for SECONDS (60)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CARGO_FUZZ=0.13.2
readonly SECONDS_EACH=${1:-60}
shift $(($# > 0 ? 1 : 0))
readonly PLACE="${CARGO_TARGET_DIR:-fuzz/target}"
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
readonly TRIPLE

say() { printf '\n==> %s\n' "$*"; }

# cargo-fuzz, built once into .cache when this machine has none of this version.
find_cargo_fuzz() {
    export PATH="$PWD/.cache/tools/bin:$PATH"
    [[ $(cargo-fuzz --version 2>/dev/null) == "cargo-fuzz $CARGO_FUZZ" ]] && return
    say "installing cargo-fuzz $CARGO_FUZZ"
    cargo install --locked --debug --root .cache/tools --version "$CARGO_FUZZ" cargo-fuzz
}

# One target, its last lines only: libFuzzer tells much.
fuzz() {
    local target=$1 log
    log=$(mktemp)
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    if "$PLACE/$TRIPLE/release/$target" -max_total_time="$SECONDS_EACH" -timeout=10 \
        -rss_limit_mb=2048 -artifact_prefix="fuzz/artifacts/$target/" \
        "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
        printf '%-16s %s\n' "$target" "$(grep -E '^Done ' "$log")"
        rm -f "$log"
    else
        printf '%-16s FAILED\n' "$target"
        tail -40 "$log"
        rm -f "$log"
        return 1
    fi
}

find_cargo_fuzz
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || mapfile -t targets < <(cargo-fuzz fuzz list)

say "building"
# Without a sanitizer: that would need a nightly toolchain, and there is no unsafe code of ours. The
# one thing that cargo-fuzz asks of a nightly is coverage, which the stable compiler does, too.
for target in "${targets[@]}"; do
    cargo-fuzz fuzz build --sanitizer none --target-dir "$PLACE" "$target"
done

say "fuzzing ${#targets[@]} targets, $SECONDS_EACH s each, $(nproc) at once"
export -f fuzz
export SECONDS_EACH PLACE TRIPLE
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}'
