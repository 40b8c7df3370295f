#!/usr/bin/env python3
"""Attacks the gateway from other addresses of this machine, and looks at who else calls it.

Polite callers call at a fixed rate all the while. Quiet seconds come before and after each attack,
and each is compared with those around it. Writes report.md and report.json beside itself. All
traffic stays on loopback, and every process that is started here ends with this one.

Needs Python 3.11, openssl for the one attack on TLS, and a machine with little else to do.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from attacks import figures, report  # noqa: E402  (found only now)
from rig import machine, simulated, tools  # noqa: E402
from rig.process import Process, kib  # noqa: E402
from rig.simulated import port_of  # noqa: E402

# Whatever the environment says of proxies.
urlopen = build_opener(ProxyHandler({})).open

KIB = 1
MIB = 1024
# What any flood may cost, on however many connections it comes one after the other.
FLOOD = 32 * MIB


@dataclass(frozen=True)
class Attack:
    """`bound` is what docs/operations.md ("Memory") lets it cost, in KiB."""

    name: str
    title: str
    bound: int
    count: int = 0
    # As much CPU as it can take; then a half as well.
    flood: bool = False
    tls: bool = False


ATTACKS = [
    Attack("spin", "none: the CPU alone", FLOOD, flood=True),
    Attack("slowloris", "Slowloris, 2,000 connections", 2_000 * 32 * KIB, 2_000),
    Attack("slow_body", "slow bodies, 500 connections", 500 * 96 * KIB, 500),
    Attack("slow_read", "slow read, 300 connections", 300 * 384 * KIB, 300),
    Attack("slow_read_http2", "slow read, HTTP/2, 10 × 100 streams", 10 * 25 * MIB, 10),
    Attack("idle", "10,000 idle connections", 10_000 * 6 * KIB, 10_000),
    Attack("rapid_reset", "rapid reset", FLOOD, flood=True),
    Attack("made_you_reset", "made you reset", FLOOD, flood=True),
    Attack("continuation", "CONTINUATION flood", FLOOD, flood=True),
    Attack("ping", "PING flood", FLOOD, flood=True),
    Attack("ping_read", "PING flood, answers read", FLOOD, flood=True),
    Attack("settings", "SETTINGS flood", FLOOD, flood=True),
    Attack("handshakes", "TLS handshakes", FLOOD, 32, flood=True, tls=True),
]
SHARES = (1.0, 0.5)
REST = """\
# Nobody waits for a turn: what is looked at is the gateway.
[rate_limit]
requests_per_minute = 0

# Room for 10,000 idle callers and for others; 40 addresses attack.
[access]
max_connections = 11000
max_connections_per_address = 1000

{tls}
[telemetry]
access_log = false
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--gateway", metavar="PATH", type=Path,
                        help="the gateway; by default it is built")
    parser.add_argument("--only", metavar="A,B", type=lambda text: text.split(","), default=names,
                        help=f"some of {','.join(names)}")
    parser.add_argument("--shares", metavar="A,B", default=list(SHARES),
                        type=lambda text: [float(part) for part in text.split(",")],
                        help="of a CPU, that the floods may take (default: 1,0.5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="of each quiet or attacked part")
    parser.add_argument("--rate", type=float, default=300, help="polite calls per second")
    parser.add_argument("--note", default="", help="for the report: what else the machine did")
    parser.add_argument("--from", metavar="FILE", dest="source", type=Path,
                        help="measure nothing: the report again, from results")
    parser.add_argument("--report", metavar="FILE", type=Path, default=HERE / "report.md")
    options = parser.parse_args()
    if unknown := set(options.only) - set(names):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    return options


def certificate(work: Path) -> str:
    """Of localhost and 127.0.0.1, by itself; what the configuration says of it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
               "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, check=True, cwd=work, capture_output=True, timeout=60)
    return f'\n[tls]\ncert = "{work}/cert.pem"\nkey = "{work}/key.pem"\n'


class Cell:
    """One attack on programs of its own: quiet, attacked, quiet, attacked … quiet."""

    def __init__(self, options: argparse.Namespace, attack: Attack, share: float, work: Path):
        self.options, self.attack, self.share, self.work = options, attack, share, work
        self.cpus = os.sched_getaffinity(0)
        self.parts: list[dict] = []
        self.did: list[dict] = []

    def run(self, gateway: Path) -> dict:
        log = self.work / "simulator.log"
        command = [str(gateway), "simulate", "--listen", "127.0.0.1:0", "--requests-per-minute", "0"]
        with Process(command, self.cpus, log=log, cwd=self.work) as self.upstream:
            url = f"http://127.0.0.1:{port_of(self.upstream, log)}"
            faults = b'{"api": [{"match": "/api/v2/echo/held", "hold": true}]}'
            with urlopen(f"{url}/_sim/faults", faults, 10):
                pass
            tls = certificate(self.work) if self.attack.tls else ""
            file = self.work / "gateway.toml"
            file.write_text(simulated.before(url) + REST.format(tls=tls))
            log = self.work / "gateway.log"
            command = [str(gateway), "serve", "--config", str(file)]
            with Process(command, self.cpus, log=log, env=simulated.SECRET, cwd=self.work) as self.gateway:
                self.port = port_of(self.gateway, log)
                return self.rounds()

    def rounds(self) -> dict:
        calls = self.work / "calls.json"
        most = (self.options.rounds + 1) * 2 * (self.options.seconds + 25) + 30
        command = [sys.executable, str(HERE / "polite.py"), "--port", str(self.port), "--out",
                   str(calls), "--rate", str(self.options.rate), "--seconds", str(most)]
        command += ["--ca", str(self.work / "cert.pem")] if self.attack.tls else []
        log = self.work / "polite.log"
        with Process(command, self.cpus, log=log, cwd=self.work) as self.polite:
            time.sleep(2)  # Connections and caches are warm then.
            idle = kib(self.gateway.popen.pid, "status", "VmRSS")
            self.gateway.forget_peak()
            self.part(None)
            for _ in range(self.options.rounds):
                self.under_attack()
                time.sleep(1)
                self.part(None)
            peak = self.gateway.peak_memory()
            self.polite.popen.terminate()
            self.polite.popen.wait(30)
        if not calls.exists():
            raise SystemExit(f"attacks: the polite callers failed:\n{self.polite.last_words()}")
        felt = json.loads(calls.read_text())
        for part in self.parts:
            part |= figures.felt(felt, part["begin"], part["end"])
        rounds = [figures.round_of(*self.parts[at : at + 3]) for at in range(0, len(self.parts) - 2, 2)]
        return {
            "attack": self.attack.name,
            "title": self.attack.title,
            "flood": self.attack.flood,
            "share": self.share,
            "bound_kib": self.attack.bound,
            "idle_kib": idle,
            "peak_kib": peak,
            "did": self.did,
            "kinds": self.kinds(felt),
            "rounds": rounds,
        }

    def kinds(self, felt: list) -> dict:
        """Latency under attack and else, by how callers connect."""
        out = {}
        for kind in ("kept", "http2", "new"):
            parts = [figures.felt(felt, each["begin"], each["end"], kind)["p99"] for each in self.parts]
            out[kind] = [
                figures.ratio(*parts[at : at + 3]) for at in range(0, len(parts) - 2, 2)
            ]
        return out

    def under_attack(self):
        log = self.work / f"attacker-{len(self.did)}.log"
        command = [sys.executable, str(HERE / "attacker.py"), self.attack.name, "--port",
                   str(self.port), "--count", str(self.attack.count), "--share", str(self.share),
                   "--seconds", str(self.options.seconds + 60)]
        with Process(command, self.cpus, log=log, cwd=self.work) as attacker:
            deadline = time.monotonic() + 60
            while "ready" not in log.read_text():
                if not attacker.running or time.monotonic() > deadline:
                    raise SystemExit(f"attacks: {self.attack.name} does not stand:\n{attacker.last_words()}")
                time.sleep(0.1)
            # It stands: who found no room to connect has come again.
            time.sleep(2)
            self.part(attacker)
            attacker.popen.terminate()
            attacker.popen.wait(30)
        self.did.append(json.loads(log.read_text().splitlines()[-1]))

    def part(self, attacker: Process | None):
        ours = [self.gateway, self.upstream, self.polite, *([attacker] if attacker else [])]

        def spent() -> list[float]:
            return [each.cpu().total for each in ours]

        begin, busy, before = time.monotonic(), machine.busy(), spent()
        time.sleep(self.options.seconds)
        end, after, idle = time.monotonic(), spent(), machine.busy()
        used = [late - early for early, late in zip(before, after)]
        self.parts.append({
            "begin": begin,
            "end": end,
            "length": end - begin,
            "cpu": used[0],
            "upstream": used[1],
            "attacker": used[3] if attacker else 0.0,
            "others": max((idle - busy - sum(used)) / (end - begin), 0.0),
        })


def measure(options: argparse.Namespace) -> dict:
    gateway = (options.gateway or tools.build_gateway()).resolve()
    machine.allow_many_files()
    cells = [
        (attack, share)
        for attack in ATTACKS
        if attack.name in options.only
        for share in (options.shares if attack.flood else [1.0])
    ]
    found = []
    for attack, share in cells:
        with tempfile.TemporaryDirectory(prefix="attacks-") as home:
            cell = Cell(options, attack, share, Path(home)).run(gateway)
        found.append(cell)
        tools.say(f"{len(found)}/{len(cells)} {report.line(cell)}")
    return {
        "about": f"{time.strftime('%Y-%m-%d')}, {machine.describe()}, Python "
                 f"{platform.python_version()}, gateway {tools.fingerprint(gateway)}",
        "command": shlex.join(["bench/attacks/run.py", *told()]),
        "note": options.note,
        "rate": options.rate,
        "seconds": options.seconds,
        "cells": found,
    }


def told() -> list[str]:
    """Our arguments, without directories of this machine."""
    return [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]


def main():
    options = arguments()
    results = json.loads(options.source.read_text()) if options.source else measure(options)
    if not options.source:
        options.report.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    options.report.write_text(report.write(results))
    tools.say(f"==> {options.report}")


if __name__ == "__main__":
    main()
