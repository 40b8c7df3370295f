"""A gateway before the simulator, as programs of their own: what every such pair has in common."""

import re
import time
from pathlib import Path

from rig.process import Process

# The gateway's environment.
SECRET = {"SIMULATED_SECRET": "demo"}
BEGINNING = """\
listen = ["127.0.0.1:0"]
admin = ""
shutdown_timeout = "1s"

[upstream]
api_url = "{upstream}"
login_url = "{upstream}"
apps_url = "{upstream}"

[oauth]
client_id = "demo"
client_secret = {{ env = "SIMULATED_SECRET" }}
token_url = "{upstream}/oauth/token"

"""


def before(upstream: str) -> str:
    """The beginning of a gateway's configuration, up to what one wants to look at."""
    return BEGINNING.format(upstream=upstream)


def port_of(process: Process, log: Path, patience: float = 20) -> int:
    """The port that it says it listens on."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and process.running:
        text = log.read_text(errors="replace")
        if found := re.search(r"(?:listening|Genesys Cloud) on https?://127\.0\.0\.1:(\d+)", text):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit(f"{process.command[1]} did not start:\n{process.last_words()}")
