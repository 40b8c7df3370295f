#!/usr/bin/env python3
"""Compares the gateway with nginx, HAProxy and Envoy, side by side on this machine.

Every target does the same in front of the same origin: it keeps connections, verifies the
origin's certificate and replaces Authorization by the token, without which the origin answers
401. Rounds are interleaved (A B C, C B A), and ratios are taken within a round. All traffic stays
on loopback, and every process that is started here ends with this one.

What is missing is installed: Debian packages through apt-get, the rest below .cache/bench.
BENCH_NGINX, BENCH_HAPROXY, BENCH_ENVOY, BENCH_WRK, BENCH_OHA, BENCH_VALGRIND name programs to use
instead.

Needs Python 3.11, Debian or one of its kin, and two CPUs with nothing else to do.
"""

import argparse
import platform
import shlex
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rig import caller, callgrind, footprint, machine, origin, plot, report, results, targets, tools
from rig.load import WORKLOADS, Generators
from rig.origin import UPSTREAMS

HERE = Path(__file__).resolve().parent
KINDS = ("load", "latency", "memory", "start", "python", "instructions")
INSTRUCTIONS = "get1k@16"


def listed(known: tuple[str, ...]):
    """The type of an option that takes some of `known`, with commas."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def peer(text: str) -> str:
    name, sign, command = text.partition("=")
    if not (name and sign and command):
        raise argparse.ArgumentTypeError("not NAME=COMMAND")
    return text


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what is compared")
    what.add_argument("--gateway", metavar="PATH", help="the gateway; by default it is built")
    what.add_argument(
        "--before", metavar="PATH", help='an older gateway, as the target "before"'
    )
    what.add_argument(
        "--pgo", metavar="PATH", help='the gateway as bench/pgo.sh builds it, as the target "pgo"'
    )
    what.add_argument(
        "--peer",
        metavar="NAME=COMMAND",
        action="append",
        default=[],
        type=peer,
        help="another proxy (repeatable), which listens on 127.0.0.1:{port} and stays in the "
        "foreground; {upstream} (a URL), {kind} (http, https or h2), {ca}, {token}, {token_url}, "
        "{workers} and {home} (a directory) are filled in too",
    )
    what.add_argument(
        "--targets",
        metavar="A,B",
        type=lambda text: text.split(","),
        help="only these, in this order (default: nginx,haproxy,envoy, before, gateway and pgo, peers)",
    )
    how = parser.add_argument_group("what is measured")
    how.add_argument("--only", metavar="A,B", type=listed(KINDS), default=list(KINDS),
                     help=f"some of {','.join(KINDS)}")
    how.add_argument("--upstream", metavar="A,B", type=listed(UPSTREAMS), default=list(UPSTREAMS),
                     help=f"some of {','.join(UPSTREAMS)}")
    how.add_argument("--workloads", metavar="A,B", type=listed(tuple(WORKLOADS)),
                     default=list(WORKLOADS), help=f"some of {','.join(WORKLOADS)}")
    how.add_argument("--rounds", type=int, default=3)
    how.add_argument("--seconds", type=float, default=8, help="of one load in one round")
    how.add_argument("--rate", type=int, default=2000, help="calls per second of the latency runs")
    how.add_argument("--connections", type=int, default=10_000, help="idle ones, for memory")
    how.add_argument("--quick", action="store_true",
                     help="one round of one second, few connections: does it work at all?")
    out = parser.add_argument_group("what comes out")
    out.add_argument("--results", metavar="FILE", type=Path, help="raw results, as JSON, "
                     "saved on the way too (default: .cache/bench/results.json, or quick.json)")
    out.add_argument("--report", metavar="FILE", type=Path,
                     help="the report; its picture beside it (default: bench/report.md; with "
                     "--quick below .cache/bench)")
    out.add_argument("--from", metavar="FILE", dest="sources", type=Path, action="append",
                     default=[], help="measure nothing: report what these files hold (repeatable)")
    out.add_argument("--add-to", metavar="FILE", type=Path,
                     help="results to report together with the new ones")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.connections = 1, 1, 200
    place = tools.CACHE if options.quick else HERE
    options.report = options.report or place / "report.md"
    name = "quick.json" if options.quick else "results.json"
    options.results = options.results or tools.CACHE / name
    return options


class Bench:
    """One run over all that was asked for."""

    def __init__(self, options: argparse.Namespace, work: Path):
        self.options = options
        self.work = work
        needed = ["nginx", "openssl", "wrk", "strip"]
        if "latency" in options.only:
            needed.append("oha")
        if "instructions" in options.only:
            needed += ["valgrind", "callgrind_control"]
        self.targets, self.programs = targets.choose(options, needed)
        self.files = machine.allow_many_files()
        self.pinned, self.unpinned = machine.pinned(), machine.unpinned()
        self.results = results.Results()
        self.results.begin(
            command=shlex.join(["bench/run.py", *sys.argv[1:]]),
            machine=machine.describe(),
            targets={target.name: target.identity() for target in self.targets},
            tools={
                name: tools.version(name, path)
                for name, path in self.programs.items()
                if name in tools.VERSIONS and name not in targets.PACKAGED
            }
            | {"origin": f"nginx {tools.version('nginx', self.programs['nginx'])}"}
            | {"python": platform.python_version()},
            rounds=options.rounds,
            seconds=options.seconds,
        )

    def run(self):
        self.origin = origin.start(self.programs["nginx"], self.work, self.pinned, self.files)
        try:
            for kind in KINDS:
                if kind in self.options.only:
                    getattr(self, kind)()
        finally:
            self.origin.process.stop()

    def stage(self, cpus: machine.Cpus, **more) -> targets.Stage:
        return targets.Stage(self.origin, cpus, self.files, self.work, **more)

    def generators(self, cpus: machine.Cpus) -> Generators:
        return Generators(self.programs, cpus, self.work)

    @contextmanager
    def all_running(self, cpus: machine.Cpus, upstream: str) -> Iterator[list[targets.Running]]:
        """Every target, started once for all rounds; who is not measured is idle."""
        stage = self.stage(cpus)
        with ExitStack() as stack:
            started = [stage.start(target, upstream) for target in self.targets]
            for running in started:
                stack.enter_context(running)
            yield started

    def rounds(self, started: list) -> Iterator[tuple[int, object]]:
        """Forth and back, so that nobody always comes after the same one."""
        for number in range(self.options.rounds):
            for one in started if number % 2 == 0 else started[::-1]:
                yield number, one

    def load(self):
        generators = self.generators(self.pinned)
        for upstream in self.options.upstream:
            with self.all_running(self.pinned, upstream) as started:
                for name in self.options.workloads:
                    workload = WORKLOADS[name]
                    for running in started:
                        generators.wrk(running, workload, 1)  # warm connections, warm caches
                    for number, running in self.rounds(started):
                        values = generators.measure(running, workload, self.options.seconds)
                        where = {"upstream": upstream, "workload": name, "round": number}
                        self.results.add("load", running.name, values, **where)
                    self.tell("load", "cpu", "µs/call", upstream=upstream, workload=name)

    def latency(self):
        for upstream in self.options.upstream:
            with self.all_running(self.pinned, upstream) as started:
                generators = self.generators(self.pinned)
                for running in started:
                    generators.oha(running, self.options.rate, 32, 1)  # warms connections
                for number, running in self.rounds(started):
                    values = generators.oha(running, self.options.rate, 32, self.options.seconds)
                    where = {"upstream": upstream, "round": number, "offered": self.options.rate}
                    self.results.add("latency", running.name, values, **where)
            self.tell("latency", "p99", "µs p99", upstream=upstream)
            rate = self.options.rate // 4
            with self.all_running(self.unpinned, upstream) as started:
                generators = self.generators(self.unpinned)
                for number, running in self.rounds(started):
                    values = generators.mixed(running, rate, self.options.seconds)
                    where = {"upstream": upstream, "round": number, "offered": rate}
                    self.results.add("mixed", running.name, values, **where)
            self.tell("mixed", "p99", "µs p99", upstream=upstream)

    def memory(self):
        upstream = "https"
        stage = self.stage(self.pinned)
        for target in self.targets:
            with stage.start(target, upstream) as running:
                footprint.settle()
                values = footprint.idle_connections(running, self.options.connections)
                self.results.add("connections", target.name, values, upstream=upstream)
            with stage.start(target, upstream) as running:
                footprint.settle()
                values = footprint.uploads(running)
                self.results.add("uploads", target.name, values, upstream=upstream)
        self.tell("connections", "each", "KiB a connection")
        self.tell("uploads", "held", "KiB under uploads")

    def start(self):
        stage, upstream = self.stage(self.pinned), "https"
        for number, target in self.rounds(self.targets):
            tries = 1 if self.options.quick else 5
            took = [footprint.cold_start(stage, target, upstream) for _ in range(tries)]
            values = {"milliseconds": statistics.median(took)}
            self.results.add("start", target.name, values, upstream=upstream, round=number)
        for target in self.targets:
            if target.is_gateway:
                values = footprint.sizes(target.program, self.work)
                self.results.add("size", target.name, values)
        self.tell("start", "milliseconds", "ms to the first signed answer")

    def python(self):
        cpus, seconds = self.pinned, self.options.seconds
        with self.all_running(cpus, "https") as started:
            for number, one in self.rounds([None, *started]):
                if one is None:
                    rate = caller.directly(self.origin, cpus, seconds)
                    values = {"rate": rate, "manner": caller.TUTORIAL}
                    self.results.add("python", "directly", values, round=number)
                    continue
                for manner in caller.MANNERS:
                    rate = caller.through(one, manner, cpus, seconds)
                    values = {"rate": rate, "manner": manner}
                    self.results.add("python", one.name, values, round=number)
        self.tell("python", "rate", "calls/s", manner=caller.TUTORIAL)

    def instructions(self):
        generators = self.generators(self.pinned)
        for upstream in self.options.upstream:
            for target in self.targets:
                place = Path(tempfile.mkdtemp(prefix="callgrind-", dir=self.work))
                prefix = callgrind.prefix(self.programs["valgrind"], place)
                stage = self.stage(self.pinned, prefix=prefix, patience=120)
                values = callgrind.measure(
                    stage,
                    target,
                    upstream,
                    generators,
                    WORKLOADS[INSTRUCTIONS],
                    max(2, self.options.seconds / 2),
                    place,
                )
                where = {"upstream": upstream, "workload": INSTRUCTIONS}
                self.results.add("instructions", target.name, values, **where)
            self.tell("instructions", "instructions", "a call", upstream=upstream)

    def tell(self, kind: str, name: str, unit: str, **where: object):
        """Progress: the median of one figure for each target."""
        place = " ".join(map(str, where.values()))
        figures = [
            f"{target} {statistics.median(s[name] for s in samples):,.1f}"
            for target in self.results.order(kind, "target", **where)
            if (samples := self.results.of(kind, target=target, **where))
        ]
        tools.say(f"{kind} {place} ({unit}): {'  '.join(figures)}")
        self.results.save(self.options.results)


def measure(options: argparse.Namespace) -> results.Results:
    # Names, ports and a token lie in there: for us alone, and gone with us.
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        bench = Bench(options, Path(work))
        try:
            bench.run()
        except BaseException:
            if bench.results.samples:
                tools.say(f"bench: what was measured until then is in {options.results}")
            raise
    return bench.results


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    options = arguments()
    # Either way, everything that was started is stopped first.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, interrupted)
    found = results.Results()
    for source in [*options.sources, *([options.add_to] if options.add_to else [])]:
        found.merge(results.load(source))
    if not options.sources:
        found.merge(measure(options))
        found.save(options.results)
    picture = options.report.with_suffix(".svg")
    options.report.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(plot.draw(found))
    options.report.write_text(report.write(found, picture.name))
    tools.say(f"written: {options.report}, {picture}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: stopped")
    except RuntimeError as error:
        sys.exit(f"bench: {error}")
