#!/usr/bin/env python3
"""The polite callers: calls leave at a fixed rate, whatever became of those before them.

A third goes over kept HTTP/1.1 connections, a third over two HTTP/2 connections, a third over a
new connection each. Latency is counted from when a call was due. Ends at SIGTERM, or after
`--seconds`, and writes down each call.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import signal
import ssl
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attacks.http2 import Connection  # noqa: E402  (found only now)
from goodput.wire import Client  # noqa: E402

PATH = "/api/v2/organizations/me"
KINDS = ("kept", "http2", "new")
# A call that takes longer has failed.
PATIENCE = 10.0


class Callers:
    def __init__(self, port: int, ca: str | None):
        self.port, self.ca = port, ca
        self.kept = Client(port, tls=self.tls("http/1.1"))
        self.connections: list[Connection | None] = [None, None]
        self.opening = asyncio.Lock()
        self.turn = itertools.cycle(range(len(self.connections)))
        self.calls: list[tuple[str, float, float | None]] = []

    def tls(self, protocol: str) -> ssl.SSLContext | None:
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols([protocol])
        return context

    async def call(self, kind: str, due: float):
        took = None
        try:
            if await asyncio.wait_for(getattr(self, f"by_{kind}")(), PATIENCE) == 200:
                took = time.monotonic() - due
        except (OSError, EOFError, ValueError, TimeoutError):
            pass
        self.calls.append((kind, due, took))

    async def by_kept(self) -> int:
        return (await self.kept.call("GET", PATH)).status

    async def by_new(self) -> int:
        once = Client(self.port, tls=self.kept.tls)
        try:
            return (await once.call("GET", PATH, Connection="close")).status
        finally:
            once.close()

    async def by_http2(self) -> int:
        number = next(self.turn)
        async with self.opening:
            connection = self.connections[number]
            if connection is None or not connection.usable:
                secure = self.tls("h2")
                streams = await asyncio.open_connection("127.0.0.1", self.port, ssl=secure)
                connection = Connection(*streams, "https" if secure else "http")
                self.connections[number] = connection
        return await connection.get(PATH)


async def run(options: argparse.Namespace):
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    loop.call_later(options.seconds, over.set)
    callers, tasks = Callers(options.port, options.ca), set()
    begin = time.monotonic()
    for number in itertools.count():
        due = begin + number / options.rate
        await asyncio.sleep(max(due - time.monotonic(), 0))
        if over.is_set():
            break
        task = asyncio.create_task(callers.call(KINDS[number % len(KINDS)], due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    options.out.write_text(json.dumps(callers.calls))


def first_in_line():
    """What is measured is the gateway, not when this program had its turn on a CPU. Not every
    machine allows it."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ca", help="the gateway's authority, if it speaks TLS")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    first_in_line()
    gc.disable()
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
