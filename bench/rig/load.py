"""Load: wrk for throughput and cost, oha for latency. Every one of them ends after its time."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from .machine import Cpus
from .origin import CONF, SIZES
from .process import Process
from .targets import Running


@dataclass(frozen=True)
class Workload:
    """Calls of one kind over so many connections."""

    path: str
    body: int
    connections: int
    # Milliseconds between an answer and the next call.
    pause: int = 0

    @property
    def label(self) -> str:
        kind = f"{size(self.body)} POST" if self.body else f"{size(SIZES[self.path])} GET"
        return f"{kind} @{self.connections}"


def size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


WORKLOADS = {
    "get1k@16": Workload("/1k", 0, 16),
    "get1k@64": Workload("/1k", 0, 64),
    "get1k@256": Workload("/1k", 0, 256),
    "post4k@64": Workload("/post", 4096, 64),
    "get16k@64": Workload("/16k", 0, 64),
    "get1m@16": Workload("/1m", 0, 16),
}
# Paced, so that every target has the same to do beside the small calls, and CPU left to do it.
DOWNLOADS = Workload("/1m", 0, 8, pause=40)


class BadAnswers(RuntimeError):
    """A target that fails calls is not slow or quick: it is wrong."""


@dataclass
class Generators:
    """The programs that make load, and where they run."""

    programs: dict[str, Path]
    cpus: Cpus
    work: Path

    def start_wrk(self, running: Running, workload: Workload, seconds: float) -> Process:
        command = [
            *(str(self.programs["wrk"]), "--threads", "1", "--timeout", "20s"),
            *("--connections", str(workload.connections), "--duration", f"{seconds:.0f}s"),
            *("--script", str(CONF / "wrk.lua"), running.url(workload.path)),
        ]
        env = {"BENCH_BODY": str(workload.body), "BENCH_PAUSE": str(workload.pause)}
        log = self.work / "wrk.log"
        return Process(command, self.cpus.load, log=log, env=env, capture=True)

    def wrk(self, running: Running, workload: Workload, seconds: float) -> dict:
        """What wrk counted, for a target that answered every call as it should."""
        wrk = self.start_wrk(running, workload, seconds)
        return outcome(wrk.output(seconds + 60), running, workload)

    def measure(self, running: Running, workload: Workload, seconds: float) -> dict:
        """Throughput, latency under full load, and what a call costs."""
        before, began = running.process.cpu(), time.monotonic()
        counted = self.wrk(running, workload, seconds)
        spent, took = running.process.cpu() - before, time.monotonic() - began
        requests = counted["requests"]
        return {
            "requests": requests,
            "rate": requests / counted["seconds"],
            "cpu": spent.total / requests * 1e6,
            "user": spent.user / requests * 1e6,
            "busy": spent.total / took,
            "p50": counted["p50"],
            "p99": counted["p99"],
            "broken": counted["broken"],
        }

    def oha(self, running: Running, rate: int, connections: int, seconds: float) -> dict:
        """Latency at a fixed rate, counted from when each call was due: a target that stalls
        delays the calls behind the stall, and they are in the figures."""
        command = [
            *(str(self.programs["oha"]), "--no-tui", "--output-format", "json"),
            *("-q", str(rate), "--latency-correction", "-c", str(connections)),
            *("-z", f"{seconds:.0f}s", "-w", "--disable-compression"),
            *("-H", "Authorization: Bearer of the caller's own", running.url("/1k")),
        ]
        before = running.process.cpu()
        oha = Process(command, self.cpus.load, log=self.work / "oha.log", capture=True)
        report = json.loads(oha.output(seconds + 60))
        spent = running.process.cpu() - before
        statuses = report["statusCodeDistribution"]
        answered = sum(statuses.values())
        if not answered or statuses.get("200") != answered:
            raise BadAnswers(f"{running.name} ({running.upstream}) answered {statuses}")
        percentiles = report["latencyPercentiles"]
        return {
            "requests": answered,
            "rate": answered / report["summary"]["total"],
            "cpu": spent.total / answered * 1e6,
            "p50": percentiles["p50"] * 1e6,
            "p99": percentiles["p99"] * 1e6,
            "p999": percentiles["p99.9"] * 1e6,
            "broken": sum(report["errorDistribution"].values()),
        }

    def mixed(self, running: Running, rate: int, seconds: float) -> dict:
        """Latency of small calls while large answers pass on other connections."""
        with self.start_wrk(running, DOWNLOADS, seconds + 2) as downloads:
            time.sleep(1)
            small = self.oha(running, rate, 16, seconds)
            large = outcome(downloads.output(seconds + 60), running, DOWNLOADS)
        megabytes = large["bytes"] / large["seconds"] / 1e6
        return small | {"downloads": megabytes, "broken": small["broken"] + large["broken"]}


def outcome(printed: str, running: Running, workload: Workload) -> dict:
    """wrk's own count, checked: nothing refused, and every answer whole."""
    found = re.search(r"^outcome (\{.*\})$", printed, re.M)
    if not found:
        raise RuntimeError(f"wrk said: {printed}")
    counted = json.loads(found[1])
    what = f"{running.name} ({running.upstream}), {workload.label}"
    requests, refused = counted["requests"], counted["refused"]
    if refused or not requests:
        raise BadAnswers(f"{what}: {refused} of {requests} calls were refused")
    # Calls on their way when the time was over have sent bytes and are not counted: never fewer.
    if counted["bytes"] < requests * SIZES[workload.path]:
        raise BadAnswers(f"{what}: answers were cut short")
    if counted["broken"] > requests / 1000:
        raise BadAnswers(f"{what}: {counted['broken']} of {requests} connections broke")
    return counted | {"seconds": counted["microseconds"] / 1e6}

