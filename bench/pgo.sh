#!/usr/bin/env bash
# Builds the gateway guided by a profile of itself under load, and prints where the program is.
#
#   bench/pgo.sh
#   bench/run.py --pgo "$(bench/pgo.sh)"
#
# The profile comes from bench/run.py's own workloads, so a comparison with it flatters: what
# counts is that the paths which every call takes are laid out for calls.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CACHE="$PWD/.cache/bench/pgo"
readonly WORKLOADS=get1k@16,get1k@64,post4k@64,get16k@64

# Only the path of the program goes to standard output.
say() { printf '\n==> %s\n' "$*" >&2; }

die() {
    printf 'bench/pgo.sh: %s\n' "$*" >&2
    exit 1
}

# llvm-profdata has to know the format that this rustc's LLVM writes. The toolchain's own does
# (rustup component llvm-tools). Debian's llvm-19 reads what rustc 1.95 writes, whose LLVM is 22;
# llvm-14 does not.
find_profdata() {
    local tool
    for tool in "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-profdata \
        /usr/lib/llvm-{25,24,23,22,21,20,19}/bin/llvm-profdata; do
        [[ -x $tool ]] && echo "$tool" && return
    done
    return 1
}

install_profdata() {
    find_profdata >/dev/null && return
    command -v apt-get >/dev/null ||
        die "there is no llvm-profdata: rustup component add llvm-tools"
    say "installing llvm-19"
    local -a become=()
    [[ $EUID -eq 0 ]] || become=(sudo)
    "${become[@]}" apt-get update -q >&2
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends llvm-19 >&2 || die "could not install llvm-19"
}

# $1: what for; the rest: flags for rustc. With --target they are for the gateway alone, not for
# the build scripts, which would write profiles of themselves.
build() {
    local what=$1
    shift
    say "building the gateway: $what"
    RUSTFLAGS="${RUSTFLAGS:-} $*" cargo build --release --locked \
        --target "$host" --target-dir "$CACHE/$what" >&2
    program="$CACHE/$what/$host/release/genesys-proxy"
}

host=$(rustc -vV | sed -n 's/^host: //p')
install_profdata
rm -rf "$CACHE/profiles" "$CACHE/merged.profdata"
mkdir -p "$CACHE/profiles"

build generate "-Cprofile-generate=$CACHE/profiles"

# The profile is written when the program ends by itself, which it does on SIGTERM.
say "running the workloads against it"
LLVM_PROFILE_FILE="$CACHE/profiles/%p.profraw" python3 bench/run.py \
    --gateway "$program" --targets gateway --only load --workloads "$WORKLOADS" \
    --rounds 1 --seconds "${PGO_SECONDS:-5}" \
    --results "$CACHE/results.json" --report "$CACHE/report.md" >&2
compgen -G "$CACHE/profiles/*.profraw" >/dev/null || die "the gateway wrote no profile"

say "merging the profiles"
"$(find_profdata)" merge -o "$CACHE/merged.profdata" "$CACHE"/profiles/*.profraw >&2 ||
    die "llvm-profdata is too old for this rustc: rustup component add llvm-tools"

build use "-Cprofile-use=$CACHE/merged.profdata"
echo "$program"
