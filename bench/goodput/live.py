"""Real time: the gateway and the simulator as programs, and callers over loopback.

One cell is one mix at one load under one policy, with programs of its own. It ends by itself.
"""

import asyncio
import hashlib
import json
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rig import simulated
from rig.process import Process
from rig.simulated import port_of

from . import callers, figures
from .wire import Client

POLICIES = {"gateway": "burst", "gateway-even": "even", "none": None}
TARGETS = (
    "/api/v2/users?pageSize=1",
    "/api/v2/routing/queues?pageSize=1",
    "/api/v2/organizations/me",
    "/api/v2/tokens/me",
    "/api/v2/echo/call",
)
REST = """\
[rate_limit]
requests_per_minute = {limit}
window = "{window}"
max_wait = "{max_wait}"
pacing = "{pacing}"

[telemetry]
access_log = false
"""
CALLER = """
[[caller]]
name = "caller-{number}"
key_sha256 = "{digest}"
"""


@dataclass(frozen=True)
class Scale:
    """How a minute of upstream's is played. `max_wait` is the same part of it as 12 s of a minute."""

    limit: int = 300
    window: float = 12.0
    warm_up: int = 2
    measured: int = 5
    # With the outsider, who comes after a quarter of it and leaves after three.
    measured_outsider: int = 10

    @property
    def max_wait(self) -> float:
        return self.window / 5

    def times(self, mix: str) -> tuple[float, float, float]:
        """When measuring begins and ends, and when all ends."""
        begin = self.warm_up * self.window
        windows = self.measured_outsider if mix == "outsider" else self.measured
        end = begin + windows * self.window
        return begin, end, end + self.window


@dataclass(frozen=True)
class Cell:
    policy: str
    mix: str
    load: float
    seed: int


def key(number: int) -> str:
    return f"goodput-key-of-caller-{number}"


def milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def configuration(upstream: str, scale: Scale, pacing: str, count: int) -> str:
    text = simulated.before(upstream) + REST.format(
        limit=scale.limit,
        window=milliseconds(scale.window),
        max_wait=milliseconds(scale.max_wait),
        pacing=pacing,
    )
    for number in range(count):
        digest = hashlib.sha256(key(number).encode()).hexdigest()
        text += CALLER.format(number=number, digest=digest)
    return text


def run(gateway: Path, cell: Cell, scale: Scale) -> figures.Run:
    """Starts the programs, plays the cell, ends them."""
    cpus = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="goodput-") as home:
        work = Path(home)
        command = [str(gateway), "simulate", "--listen", "127.0.0.1:0"]
        command += ["--requests-per-minute", str(scale.limit)]
        command += ["--window", milliseconds(scale.window)]
        log = work / "simulator.log"
        with Process(command, cpus, log=log, cwd=work) as simulator:
            upstream = port_of(simulator, log)
            if (pacing := POLICIES[cell.policy]) is None:
                return asyncio.run(play(cell, scale, upstream, upstream))
            dice = random.Random(cell.seed)
            count = len(callers.party(cell.mix, cell.load, scale.limit, scale.window, dice).habits)
            file = work / "gateway.toml"
            url = f"http://127.0.0.1:{upstream}"
            file.write_text(configuration(url, scale, pacing, count))
            log = work / "gateway.log"
            command = [str(gateway), "serve", "--config", str(file)]
            with Process(command, cpus, log=log, env=simulated.SECRET, cwd=work) as proxy:
                return asyncio.run(play(cell, scale, upstream, port_of(proxy, log)))


class Play:
    """One cell under way."""

    def __init__(self, cell: Cell, scale: Scale, upstream: int, port: int):
        self.cell, self.scale = cell, scale
        self.dice = random.Random(cell.seed)
        self.control = Client(upstream)
        self.client = Client(port)
        self.calls: list[figures.Call] = []
        self.refusals: list[float] = []
        self.failures: dict[str, int] = {}
        # When upstream accepted a call of the program outside, and how many it refused.
        self.outside: list[float] = []
        self.outside_refused = 0
        self.tasks: set[asyncio.Task] = set()
        self.began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.began

    async def until(self, at: float):
        await asyncio.sleep(max(at - self.now(), 0))

    def spawn(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def caller(self, number: int, habit: callers.Habit):
        """Calls come when they are due, however late this program is."""
        due = 0.0
        for pause, count in habit:
            due += pause
            await self.until(due)
            for _ in range(count):
                call = figures.Call(number, self.now())
                self.calls.append(call)
                self.spawn(self.call(call))

    async def call(self, call: figures.Call):
        target = self.dice.choice(TARGETS)
        for _ in range(callers.RETURNS + 1):
            call.came = self.now()
            if call.promises:
                call.promises[-1].came = call.came
            try:
                answer = await self.client.call("GET", target, **self.identity(call.caller))
            except (OSError, ValueError, EOFError) as error:
                return self.failed(type(error).__name__)
            ended = self.now()
            if answer.status != 429:
                if answer.status != 200:
                    return self.failed(str(answer.status))
                call.served = ended
                if call.promises:
                    call.promises[-1].served = ended
                return None
            call.refusals += 1
            self.refusals.append(ended)
            told = ended + float(answer.headers["retry-after"])
            if call.refusals > callers.RETURNS:
                return None
            call.promises.append(figures.Promise(told))
            await self.until(told)
        return None

    def identity(self, caller: int) -> dict[str, str]:
        if POLICIES[self.cell.policy] is None:
            return {"Authorization": f"Bearer {self.token}"}
        return {"X-Api-Key": key(caller)}

    def failed(self, why: str):
        self.failures[why] = self.failures.get(why, 0) + 1

    async def outsider(self, begin: float, end: float):
        """Uses the token directly, at random times, in the middle half of the measured time."""
        due, stop = begin + (end - begin) / 4, begin + (end - begin) * 3 / 4
        rate = self.scale.limit * callers.OUTSIDE / self.scale.window
        while (due := due + self.dice.expovariate(rate)) < stop:
            await self.until(due)
            answer = await self.control.call("POST", "/_sim/outsider", b'{"calls": 1}')
            accepted = json.loads(answer.body)["accepted"]
            self.outside += [self.now()] * accepted
            self.outside_refused += 1 - accepted

    async def state(self) -> dict:
        answer = await self.control.call("GET", "/_sim/state?records=0")
        return json.loads(answer.body)

    async def login(self):
        form = b"grant_type=client_credentials&client_id=demo&client_secret=demo"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = await self.control.call("POST", "/oauth/token", form, **kind)
        self.token = json.loads(answer.body)["access_token"]

    async def play(self) -> figures.Run:
        scale, cell = self.scale, self.cell
        if POLICIES[cell.policy] is None:
            await self.login()
        party = callers.party(cell.mix, cell.load, scale.limit, scale.window, self.dice)
        begin, end, over = scale.times(cell.mix)
        self.began = time.monotonic()
        for number, habit in enumerate(party.habits):
            self.spawn(self.caller(number, habit))
        if cell.mix == "outsider":
            self.spawn(self.outsider(begin, end))
        await self.until(begin)
        before = await self.state()
        await self.until(end)
        after = await self.state()
        await self.until(over)
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.client.close()
        self.control.close()
        return self.result(party, (begin, end), before, after)

    def result(self, party, measured, before, after) -> figures.Run:
        scale, cell = self.scale, self.cell
        seen = figures.measure(
            self.calls,
            len(party.habits),
            party.watched,
            self.refusals,
            measured,
            scale.window,
            scale.max_wait,
        )
        accepted = [call.served for call in self.calls if call.served is not None] + self.outside
        allowed = scale.limit * (measured[1] - measured[0]) / scale.window
        return {
            "policy": cell.policy,
            "mix": cell.mix,
            "manner": "obeys",
            "load": cell.load,
            "seed": cell.seed,
            "used": figures.used(accepted, scale.limit, measured, scale.window),
            "offered": seen["asked"] / allowed,
            "upstream_429": after["rate_limited"] - before["rate_limited"],
            "outsider_429": self.outside_refused,
            "failures": self.failures,
            **seen,
        }


async def play(cell: Cell, scale: Scale, upstream: int, port: int) -> figures.Run:
    return await Play(cell, scale, upstream, port).play()
