#!/usr/bin/env python3
"""What sharing costs: one replica of three beside a gateway alone, CPU of a call and p99.

The two take turns under wrk on the last CPU; Redis, the simulator, wrk and the two other replicas, which
are called now and then, have the others. Prints each round and the medians of the ratios. All traffic
stays on loopback, and every process that is started here ends with this one.

Needs Debian or one of its kin, Python 3.11, and two CPUs with little else to do.
"""

import argparse
import contextlib
import re
import sys
import tempfile
import threading
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import machine, simulated, tools  # noqa: E402
from rig.figures import median  # noqa: E402
from rig.origin import free_ports, wait_for_port  # noqa: E402
from rig.process import Process  # noqa: E402
from rig.simulated import port_of  # noqa: E402

tools.PACKAGES["redis-server"] = ["redis-server"]
PATH = "/api/v2/organizations/me"
# Never reached: what is compared is the way of a call that waits for nothing.
REST = """
[rate_limit]
requests_per_minute = 1000000000
[telemetry]
access_log = false
"""
OTHERS = 2
# Between two calls at each of the others.
PAUSE = 0.05
MILLISECONDS = {"us": 1e-3, "ms": 1, "s": 1e3}
# Whatever the environment says of proxies.
urlopen = build_opener(ProxyHandler({})).open


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gateway", metavar="PATH", type=Path, help="by default it is built")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=3, help="of each part of a round")
    parser.add_argument("--connections", type=int, default=64)
    return parser.parse_args()


class Stage(contextlib.ExitStack):
    """The simulator, Redis, a gateway alone and three that share."""

    def __init__(self, gateway: Path, redis: Path, cpus: machine.Cpus, work: Path):
        super().__init__()
        self.gateway, self.cpus, self.work = gateway, cpus, work
        [port] = free_ports(1)
        store = [str(redis), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        wait_for_port(port, self.starts("redis", store, cpus.load)[0])
        limit = ["--requests-per-minute", "0"]
        command = [str(gateway), "simulate", "--listen", "127.0.0.1:0", *limit]
        upstream = f"http://127.0.0.1:{port_of(*self.starts('simulate', command, cpus.load))}"
        shared = f'[store]\nurl = "redis://127.0.0.1:{port}"\n'
        self.alone = self.serves("alone", upstream, "", cpus.target)
        self.shared = self.serves("shared", upstream, shared, cpus.target)
        others = [self.serves(f"other-{n}", upstream, shared, cpus.load) for n in range(OTHERS)]
        ends = threading.Event()
        self.callback(ends.set)
        for _, url in others:
            threading.Thread(target=trickle, args=(url, ends), daemon=True).start()

    def starts(self, name: str, command: list[str], cpus: frozenset[int]) -> tuple[Process, Path]:
        log = self.work / f"{name}.log"
        process = Process(command, cpus, log=log, env=simulated.SECRET, cwd=self.work)
        return self.enter_context(process), log

    def serves(self, name: str, upstream: str, store: str, cpus: frozenset[int]):
        file = self.work / f"{name}.toml"
        file.write_text(simulated.before(upstream) + REST + store)
        command = [str(self.gateway), "serve", "--config", str(file)]
        process, log = self.starts(name, command, cpus)
        url = f"http://127.0.0.1:{port_of(process, log)}{PATH}"
        # Until it has a token, and a part.
        urlopen(url, timeout=20).read()
        return process, url


def trickle(url: str, ends: threading.Event):
    """A call now and then, so that there is something to tell."""
    while not ends.wait(PAUSE):
        urlopen(url, timeout=20).read()


def measure(wrk: Path, target: tuple[Process, str], options, stage: Stage) -> tuple[float, float]:
    """Microseconds of CPU for a call, and p99 in milliseconds."""
    process, url = target
    before = process.cpu()
    load = ["--threads", "1", "--connections", str(options.connections), "--latency"]
    command = [str(wrk), *load, "--duration", f"{options.seconds}s", url]
    with Process(command, stage.cpus.load, log=stage.work / "wrk.log", capture=True) as running:
        printed = running.output(options.seconds + 60)
    spent = (process.cpu() - before).total
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(f"bench: calls failed:\n{printed}")
    calls = int(re.search(r"(\d+) requests in", printed)[1])
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", printed).groups()
    return spent / calls * 1e6, float(p99) * MILLISECONDS[unit]


def main():
    options = arguments()
    programs = tools.need(["wrk", "redis-server"])
    gateway = (options.gateway or tools.build_gateway()).resolve()
    machine.allow_many_files()
    cpus = machine.pinned()
    print(f"{machine.describe()}; gateway {tools.fingerprint(gateway)}")
    ratios = []
    with (
        tempfile.TemporaryDirectory() as work,
        Stage(gateway, programs["redis-server"], cpus, Path(work)) as stage,
    ):
        for number in range(options.rounds):
            order = ["alone", "shared"] if number % 2 == 0 else ["shared", "alone"]
            seen = {
                name: measure(programs["wrk"], getattr(stage, name), options, stage)
                for name in order
            }
            (cpu, p99), (cpu_shared, p99_shared) = seen["alone"], seen["shared"]
            ratios.append((cpu_shared / cpu, p99_shared / p99))
            print(
                f"{number + 1:3}  CPU {cpu:.1f} µs alone, {cpu_shared:.1f} shared; "
                f"p99 {p99:.2f} ms alone, {p99_shared:.2f} shared",
                flush=True,
            )
    cpu, p99 = (median(column) for column in zip(*ratios, strict=True))
    print(f"shared to alone, median of {len(ratios)} rounds: CPU {cpu:.3f}, p99 {p99:.3f}")


if __name__ == "__main__":
    main()
