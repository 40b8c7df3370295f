"""Memory, and the time from nothing to the first signed answer."""

import selectors
import shutil
import socket
import subprocess
import time
from pathlib import Path

from .load import BadAnswers
from .origin import LOOPBACK, SIZES
from .targets import Running, Stage, Target

UPLOADS = 64
UPLOAD = 1 << 20
# The last bytes of each upload, held back while memory is read.
HELD = 64 << 10
GET = b"GET /1k HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mine\r\n\r\n"


def settle():
    """What a target does after the last answer is done by then."""
    time.sleep(1)


def idle_connections(running: Running, count: int) -> dict:
    """Memory with `count` connections that each made one call and are silent now."""
    before = running.process.memory()
    sockets = []
    try:
        for _ in range(count):
            connection = socket.create_connection((LOOPBACK, running.port), 10)
            sockets.append(connection)
            connection.sendall(GET)
            read_answer(connection, SIZES["/1k"])
        settle()
        during = running.process.memory()
    finally:
        for connection in sockets:
            connection.close()
    settle()
    return {
        "idle": before,
        "connections": count,
        "held": during,
        "each": (during - before) / count,
        "after": running.process.memory(),
    }


def read_answer(connection: socket.socket, length: int):
    """One answer with a body of `length` bytes."""
    answer = b""
    while True:
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= length:
            break
        piece = connection.recv(65536)
        if not piece:
            raise BadAnswers(f"the connection was closed after {answer[:80]!r}")
        answer += piece
    if not head.startswith(b"HTTP/1.1 200"):
        raise BadAnswers(f"answered {head[:80]!r}")


def uploads(running: Running) -> dict:
    """Memory under uploads that have all but arrived, and at the peak."""
    before = running.process.memory()
    running.process.forget_peak()
    sockets = []
    try:
        for _ in range(UPLOADS):
            connection = socket.create_connection((LOOPBACK, running.port), 10)
            sockets.append(connection)
            connection.sendall(
                b"POST /post HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % UPLOAD
            )
        send_all(sockets, UPLOAD - HELD)
        settle()
        during = running.process.memory()
        send_all(sockets, HELD)
        for connection in sockets:
            connection.settimeout(30)
            read_answer(connection, SIZES["/post"])
    finally:
        for connection in sockets:
            connection.close()
    return {"idle": before, "held": during, "peak": running.process.peak_memory()}


def send_all(sockets: list[socket.socket], size: int):
    """So many bytes on each, all at once."""
    end = time.monotonic() + 60
    piece = bytes(65536)
    with selectors.DefaultSelector() as selector:
        left = dict.fromkeys(sockets, size)
        for connection in sockets:
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_WRITE)
        while selector.get_map():
            if time.monotonic() > end:
                raise BadAnswers("uploads did not move for a minute")
            for key, _ in selector.select(1):
                connection = key.fileobj
                left[connection] -= connection.send(piece[: left[connection]])
                if not left[connection]:
                    selector.unregister(connection)


def cold_start(stage: Stage, target: Target, upstream: str) -> float:
    """Milliseconds from the start of the process to its first signed answer."""
    began = time.monotonic()
    with stage.launch(target, upstream) as running:
        running.wait_until_ready(stage.patience, pause=0.001)
        return (time.monotonic() - began) * 1000


def sizes(program: Path, work: Path) -> dict:
    """Bytes of the program on disk, as it was built and without symbols."""
    stripped = work / "stripped"
    shutil.copy(program, stripped)
    subprocess.run(["strip", str(stripped)], check=True, timeout=60)
    return {"built": program.stat().st_size, "stripped": stripped.stat().st_size}


