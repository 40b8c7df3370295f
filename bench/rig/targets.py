"""What is compared: every target does the same work in front of the same origin."""

import getpass
import itertools
import os
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from . import tools
from .machine import Cpus
from .origin import SIZES, Origin, fill, free_ports, get
from .process import Process

PACKAGED = ("nginx", "haproxy", "envoy")
GATEWAY = "gateway"
BEFORE = "before"
PGO = "pgo"
# Builds of ours, in the order of their making.
OURS = (BEFORE, GATEWAY, PGO)
BASE = "nginx"


@dataclass(frozen=True)
class Target:
    """Something that can be started."""

    name: str
    program: Path | None = None
    # Of a `--peer`, with its placeholders.
    command: str | None = None

    @property
    def is_gateway(self) -> bool:
        return self.name in OURS

    def identity(self) -> dict[str, str]:
        """Which build this is."""
        if self.program is None:
            return {"command": self.command or ""}
        identity = {"version": tools.version(self.name, self.program)}
        # Two builds of ours have the same version.
        return identity | ({"sha256": tools.fingerprint(self.program)} if self.is_gateway else {})


@dataclass
class Stage:
    """Where targets are started: the origin, the CPUs, the directory for their files."""

    origin: Origin
    cpus: Cpus
    files: int
    work: Path
    # Put before a target's own command, for valgrind.
    prefix: tuple[str, ...] = ()
    patience: float = 20
    counter = itertools.count()

    def start(self, target: Target, upstream: str) -> "Running":
        """Starts it, and returns when it has answered as it should."""
        running = self.launch(target, upstream)
        try:
            running.wait_until_ready(self.patience)
        except BaseException:
            running.process.stop()
            raise
        return running

    def launch(self, target: Target, upstream: str) -> "Running":
        home = self.work / f"{target.name}-{next(self.counter)}"
        home.mkdir()
        (port,) = free_ports(1)
        values = {
            "PORT": port,
            "HOME": home,
            "WORKERS": self.cpus.workers,
            "FILES": self.files,
            "USER": getpass.getuser(),
            "UPSTREAM": self.origin.url(upstream),
            "SCHEME": self.origin.url(upstream).partition(":")[0],
            "ORIGIN_PORT": self.origin.ports[upstream],
            "CA": self.origin.ca,
            "TOKEN": self.origin.token,
        }
        command = command_of(target, upstream, values)
        env = {
            "BENCH_CLIENT_ID": "bench",
            "BENCH_CLIENT_SECRET": "not a secret",
            # For peers that are built on tokio.
            "TOKIO_WORKER_THREADS": str(self.cpus.workers),
        }
        log = home / "log"
        process = Process([*self.prefix, *command], self.cpus.target, log=log, env=env, cwd=home)
        return Running(target, upstream, port, process)


def command_of(target: Target, upstream: str, values: dict[str, object]) -> list[str]:
    """Writes the target's configuration into its directory."""
    if target.command is not None:
        known = {name.lower(): value for name, value in values.items()}
        known |= {"token_url": f"{known['upstream']}/oauth/token", "kind": upstream}
        return [
            re.sub(r"\{(\w+)\}", lambda hole: str(known.get(hole[1], hole[0])), word)
            for word in shlex.split(target.command)
        ]
    home, program = values["HOME"], str(target.program)
    name = "gateway.toml" if target.is_gateway else CONFIGURATIONS[target.name]
    conf = Path(home) / name
    conf.write_text(fill(name, upstream, **values))
    if target.is_gateway:
        return [program, "serve", "--config", str(conf)]
    if target.name == "nginx":
        return [program, "-p", f"{home}", "-c", str(conf), "-e", f"{home}/error.log"]
    if target.name == "haproxy":
        return [program, "-db", "-f", str(conf)]
    workers = str(values["WORKERS"])
    quiet = ["--log-level", "error", "--disable-hot-restart"]
    return [program, "-c", str(conf), "--concurrency", workers, *quiet]


CONFIGURATIONS = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml"}


@dataclass
class Running:
    """A target that was started in front of one kind of upstream."""

    target: Target
    upstream: str
    port: int
    process: Process

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_):
        self.process.stop()

    @property
    def name(self) -> str:
        return self.target.name

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def wait_until_ready(self, seconds: float, pause: float = 0.05):
        """Until a call comes back whole: with the token, or it would be a 401."""
        end = time.monotonic() + seconds
        answer = (0, 0)
        while time.monotonic() < end and self.process.running:
            answer = get(self.port, "/1k", seconds)
            if answer == (200, SIZES["/1k"]):
                return
            time.sleep(pause)
        raise RuntimeError(
            f"{self.name} ({self.upstream}) is not ready: last answer {answer}\n"
            f"{self.process.last_words()}"
        )


def choose(options, needed: list[str]) -> tuple[list[Target], dict[str, Path]]:
    """The targets that the command line asks for, and all programs that are needed."""
    peers = dict(peer.split("=", 1) for peer in options.peer)
    given = {BEFORE: options.before, GATEWAY: options.gateway, PGO: options.pgo}
    ours = {name: program_at(path) for name, path in given.items() if path or name == GATEWAY}
    names = options.targets or [*PACKAGED, *ours, *peers]
    # All that can be wrong is found before anything is installed or built.
    for name in names:
        if name not in (*PACKAGED, *ours, *peers):
            raise SystemExit(f"bench: no target is called {name!r}")
    if taken := peers.keys() & {*PACKAGED, *OURS}:
        raise SystemExit(f"bench: a peer cannot be called {', '.join(taken)}")
    programs = tools.need([*needed, *(name for name in names if name in PACKAGED)])
    found = []
    for name in names:
        if name in PACKAGED:
            found.append(Target(name, programs[name]))
        elif name in peers:
            found.append(Target(name, command=peers[name]))
        else:
            found.append(Target(name, ours[name] or tools.build_gateway()))
    return found, programs


def program_at(path: str | None) -> Path | None:
    if path is None:
        return None
    if not os.access(path, os.X_OK):
        raise SystemExit(f"bench: {path} is not a program")
    return Path(path).resolve()
