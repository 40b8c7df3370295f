"""The Python caller: the same script against the API and against a proxy.

As a program of its own it makes calls for some seconds and prints how many:
caller.py MANNER SECONDS URL, where MANNER is one of those below.
"""

import http.client
import os
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

if __package__:
    from .machine import Cpus
    from .origin import Origin
    from .process import Process
    from .targets import Running

TUTORIAL = "new connection"
KEPT = "kept connection"

SYSTEM_ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")


def calls_with_new_connections(url: str):
    """What tutorials and quick scripts do: a client, a connection and its TLS for each call."""
    while True:
        request = urllib.request.Request(url)
        if token := os.environ.get("BENCH_TOKEN"):
            request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            yield len(answer.read())


def calls_over_one_connection(url: str):
    """What a careful script does."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
    while True:
        connection.request("GET", where.path)
        yield len(connection.getresponse().read())


MANNERS = {TUTORIAL: calls_with_new_connections, KEPT: calls_over_one_connection}


def calls_per_second(manner: str, url: str, seconds: float) -> float:
    calls = MANNERS[manner](url)
    count, began = 0, time.monotonic()
    while (took := time.monotonic() - began) < seconds:
        if next(calls) != 1024:
            raise SystemExit("an answer was cut short")
        count += 1
    return count / took


def through(running: "Running", manner: str, cpus: "Cpus", seconds: float) -> float:
    """Calls per second through a proxy: no token, no TLS, nothing but another base URL."""
    return in_a_process(manner, running.url("/1k"), cpus, seconds, {})


def directly(origin: "Origin", cpus: "Cpus", seconds: float) -> float:
    """Calls per second to the API itself, with a token that is at hand already."""
    # Python loads the trusted roots for every connection: all of them, as it would for the API.
    roots = origin.work / "roots.crt"
    system = SYSTEM_ROOTS.read_text() if SYSTEM_ROOTS.exists() else ""
    roots.write_text(origin.ca.read_text() + system)
    env = {"SSL_CERT_FILE": str(roots), "BENCH_TOKEN": origin.token}
    return in_a_process(TUTORIAL, f"{origin.url('https')}/1k", cpus, seconds, env)


def in_a_process(
    manner: str, url: str, cpus: "Cpus", seconds: float, env: dict[str, str]
) -> float:
    command = [sys.executable, __file__, manner, str(seconds), url]
    caller = Process(command, cpus.load, env=env, capture=True)
    return float(caller.output(seconds + 60))


if __name__ == "__main__":
    print(calls_per_second(sys.argv[1], sys.argv[3], float(sys.argv[2])))
