"""What stands in for Genesys Cloud: nginx with one worker, over HTTP, HTTPS, HTTPS with HTTP/2."""

import getpass
import http.client
import re
import secrets
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import tools
from .machine import Cpus
from .process import Process

CONF = Path(__file__).resolve().parents[1] / "conf"
UPSTREAMS = ("http", "https", "h2")
SIZES = {"/1k": 1 << 10, "/16k": 1 << 14, "/1m": 1 << 20, "/post": 11}
LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Nobody listens on these now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def fill(template: str, upstream: str = "", **values: object) -> str:
    """A file of conf/ with its @NAMES@ replaced, without the lines for other kinds of upstream."""
    lines = []
    for line in (CONF / template).read_text().splitlines():
        if only := re.match(r"@([a-z0-9,]+)\|", line):
            if upstream not in only[1].split(","):
                continue
            line = line[only.end() :]
        lines.append(line)
    text = "\n".join(lines) + "\n"
    return re.sub(r"@([A-Z_0-9]+)@", lambda name: str(values[name[1]]), text)


def certificates(place: Path):
    """A CA of our own, and a certificate for localhost."""

    def openssl(*arguments: str):
        command = ["openssl", *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=place, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca = ("-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", "-x509", *key, "-days", "7", "-subj", "/CN=bench", *ca)
    out = ("-keyout", "origin.key", "-out", "origin.csr")
    openssl("req", *key, "-subj", "/CN=localhost", *out)
    (place / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    by = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "origin.csr", *by, "-days", "7", "-out", "origin.crt")


@dataclass
class Origin:
    """Running."""

    work: Path
    token: str
    ports: dict[str, int]
    process: Process

    def url(self, upstream: str) -> str:
        scheme = "http" if upstream == "http" else "https"
        return f"{scheme}://localhost:{self.ports[upstream]}"

    @property
    def ca(self) -> Path:
        return self.work / "ca.crt"


def start(nginx: Path, work: Path, cpus: Cpus, files: int) -> Origin:
    certificates(work)
    (work / "www").mkdir()
    (work / "www/1m").write_text("x" * SIZES["/1m"])
    # The directory is for us alone, and nginx started by root would become somebody else.
    token = secrets.token_urlsafe(64)
    ports = dict(zip(UPSTREAMS, free_ports(len(UPSTREAMS)), strict=True))
    conf = work / "origin.conf"
    conf.write_text(
        fill(
            "origin.conf",
            MODULES=tools.nginx_modules(),
            USER=getpass.getuser(),
            FILES=files,
            WORK=work,
            TOKEN=token,
            ONE_KIB="x" * 1024,
            TWO_KIB="x" * 2048,
            **{name.upper(): port for name, port in ports.items()},
        )
    )
    log = work / "origin.log"
    command = [str(nginx), "-p", str(work), "-c", str(conf), "-e", str(log)]
    origin = Origin(work, token, ports, Process(command, cpus.load, log=log))
    try:
        for port in ports.values():
            wait_for_port(port, origin.process)
    except BaseException:
        origin.process.stop()
        raise
    return origin


def wait_for_port(port: int, process: Process, seconds: float = 15):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.running:
        try:
            socket.create_connection((LOOPBACK, port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{process.command[0]} does not listen:\n{process.last_words()}")


def get(port: int, path: str, seconds: float = 10) -> tuple[int, int]:
    """Status and length of an answer, over a connection of its own; (0, 0) when there is none."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Authorization": "Bearer of the caller's own"})
        answer = connection.getresponse()
        return answer.status, len(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, 0
    finally:
        connection.close()
