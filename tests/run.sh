#!/usr/bin/env bash
# All tests, from a machine that has only Rust: installs what is missing, then runs everything.
# It never skips: what cannot be installed is a failure.
#
#   tests/run.sh            everything
#   tests/run.sh sdk        only the tests with "sdk" in their name
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Without a network, or with a test that hangs, this ends all the same.
readonly TEST_SECONDS=1200
readonly CACHE="$PWD/.cache"

say() { printf '\n==> %s\n' "$*"; }

die() {
    printf 'tests/run.sh: %s\n' "$*" >&2
    exit 1
}

# Debian packages, as root or through sudo.
install_packages() {
    command -v apt-get >/dev/null || die "please install $*: there is no apt-get here to do it"
    local -a become=()
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null || die "please install $* (or sudo, and this script does)"
        become=(sudo)
    fi
    say "installing $*"
    "${become[@]}" apt-get update -q || die "apt-get update failed"
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" || die "could not install $*"
}

python_is_good() {
    python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

node_is_good() {
    node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null &&
        npm --version >/dev/null 2>&1
}

# Another browser of the same making will do.
find_chromium() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

# The programs that are no crates.
find_tools() {
    command -v cargo >/dev/null || die "there is no cargo: install Rust, https://rustup.rs"
    local -a missing=()
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    type -P kill >/dev/null || missing+=(procps)
    python_is_good || missing+=(python3 python3-venv)
    node_is_good || missing+=(nodejs npm)
    find_chromium >/dev/null || missing+=(chromium)
    # What the package starts by itself is nobody's business here: tests have servers of their own.
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v haproxy >/dev/null || missing+=(haproxy)
    # promtool comes with it.
    command -v prometheus >/dev/null || missing+=(prometheus)
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
    python_is_good || die "python3 is older than 3.11, or has no venv: $(command -v python3)"
    node_is_good || die "node is older than 18, or has no npm: $(command -v node)"
    GENESYS_PROXY_TEST_CHROMIUM=$(find_chromium) || die "there is no chromium"
    export GENESYS_PROXY_TEST_CHROMIUM
}

# Whether $1 was installed from what the other arguments say.
unchanged() {
    local place=$1
    shift
    [[ -f $place/installed-from && $(cat "$place/installed-from") == "$*" ]]
}

# What $1 pins, in an environment of its own, $2.
install_python_packages() {
    local lock=$1 place=$2
    local -a from=("$place" "$(python3 --version)" "$(sha256sum <"$lock")")
    if ! unchanged "$place" "${from[@]}" || ! "$place/bin/python" -c '' 2>/dev/null; then
        say "installing $lock"
        rm -rf "$place"
        python3 -m venv "$place"
        "$place/bin/python" -m pip install --no-input --disable-pip-version-check \
            --require-hashes --only-binary=:all: --requirement "$lock" ||
            die "could not install $lock"
        printf '%s' "${from[*]}" >"$place/installed-from"
    fi
}

# What the package-lock.json in $1 pins, into $2/node_modules.
install_node_modules() {
    local list=$1 place=$2
    local -a from=("$(cat "$list/package.json" "$list/package-lock.json" | sha256sum)")
    if ! unchanged "$place" "${from[@]}"; then
        say "installing $list"
        rm -rf "$place"
        mkdir -p "$place"
        cp "$list/package.json" "$list/package-lock.json" "$place"
        npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund ||
            die "could not install $list/package-lock.json"
        printf '%s' "${from[*]}" >"$place/installed-from"
    fi
}

# The sum of cargo's "test result:" lines and of what unittest says about bench, as one line.
summary() {
    awk '
        /^test result: / {
            for (i = 2; i <= NF; i++) {
                if ($i == "passed;") passed += $(i - 1)
                if ($i == "failed;") failed += $(i - 1)
                if ($i == "ignored;") ignored += $(i - 1)
            }
        }
        /^bench: Ran [0-9]+ tests? in / { passed += $3 }
        /^bench: FAILED \((failures|errors)=/ {
            gsub(/[^0-9 ]/, "")
            for (i = 1; i <= NF; i++) { failed += $i; passed -= $i }
        }
        END {
            printf "%d passed, %d failed", passed, failed
            if (ignored) printf ", %d skipped", ignored
            print ""
        }
    ' "$1"
}

find_tools
install_python_packages tests/sdk/requirements.txt "$CACHE/sdk/python"
export GENESYS_PROXY_TEST_PYTHON="$CACHE/sdk/python/bin/python"
# What reads the files for Docker Compose and Kubernetes.
install_python_packages tests/deploy/requirements.txt "$CACHE/deploy/python"
export GENESYS_PROXY_TEST_DEPLOY_PYTHON="$CACHE/deploy/python/bin/python"
# What looks at the dashboard, with the Chromium that is there.
install_python_packages tests/dashboard/requirements.txt "$CACHE/dashboard/python"
export GENESYS_PROXY_TEST_DASHBOARD_PYTHON="$CACHE/dashboard/python/bin/python"
install_node_modules tests/dashboard "$CACHE/dashboard/javascript"
export GENESYS_PROXY_TEST_DASHBOARD_MODULES="$CACHE/dashboard/javascript/node_modules"
install_node_modules tests/sdk "$CACHE/sdk/javascript"
export GENESYS_PROXY_TEST_NODE_MODULES="$CACHE/sdk/javascript/node_modules"
# An authorization server that somebody else wrote.
install_node_modules tests/oidc "$CACHE/oidc"
export GENESYS_PROXY_TEST_OIDC_MODULES="$CACHE/oidc/node_modules"

say "building"
cargo test --locked --no-run

say "testing"
output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
timeout --kill-after=10 "$TEST_SECONDS" cargo test --locked --no-fail-fast "$@" 2>&1 |
    tee "$output" || status=$?
# What the benchmarks calculate; with arguments, it is cargo's tests that are asked for.
[[ $# -gt 0 ]] || timeout 60 python3 -m unittest discover -s bench 2>&1 |
    sed 's/^/bench: /' | tee -a "$output" || status=$?
[[ $status -ne 124 && $status -ne 137 ]] || echo "stopped: not done after $TEST_SECONDS s" >&2

say "summary"
grep -E '^(test result:|bench: (Ran|OK|FAILED))' "$output" || true
summary "$output"
exit "$status"
