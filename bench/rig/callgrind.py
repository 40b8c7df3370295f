"""Instructions per call, counted by valgrind: the same on a quiet and on a busy machine.

Only user space is counted. That is what a change to a proxy's own code can move; how often it
enters the kernel shows in CPU time.
"""

import re
import subprocess
import time
from collections import Counter
from pathlib import Path

from .load import Generators, Workload
from .targets import Running, Stage, Target

TOP = 25


def prefix(valgrind: Path, place: Path) -> tuple[str, ...]:
    """What goes before a command for its instructions to be counted."""
    return (
        str(valgrind),
        "--tool=callgrind",
        # Peers may be started by a script.
        "--trace-children=yes",
        f"--callgrind-out-file={place}/callgrind.%p",
    )


def measure(
    stage: Stage,
    target: Target,
    upstream: str,
    generators: Generators,
    workload: Workload,
    seconds: float,
    place: Path,
) -> dict:
    """Instructions per call, and the functions that took most of them."""
    with stage.start(target, upstream) as running:
        generators.wrk(running, workload, max(1, seconds / 2))
        start, _ = dump(running, generators.programs["callgrind_control"], place)
        counted = generators.wrk(running, workload, seconds)
        files, unread = dump(running, generators.programs["callgrind_control"], place, start)
    if not files:
        raise RuntimeError(f"valgrind wrote nothing for {target.name}: {unread}")
    total, costs = 0, Counter()
    for file in files:
        text = file.read_text(errors="replace")
        total += instructions(text)
        costs.update(self_costs(text))
    requests = counted["requests"]
    return {
        "requests": requests,
        "instructions": total / requests,
        "profile": [[name, cost / requests] for name, cost in costs.most_common(TOP)],
    }


def dump(
    running: Running, control: Path, place: Path, known: frozenset[Path] = frozenset()
) -> tuple[frozenset[Path], str]:
    """Has the target write down what it counted so far, and count from nothing. The new files."""
    said = ""
    for pid in running.process.tree():
        command = [str(control), "--dump", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        said += done.stdout + done.stderr
    # The file is complete when it stops growing.
    sizes: dict[Path, int] = {}
    for _ in range(100):
        time.sleep(0.2)
        now = {file: file.stat().st_size for file in place.glob("callgrind.*")}
        if now == sizes and any(file not in known for file in now):
            break
        sizes = now
    return frozenset(file for file in sizes if file not in known), said


def instructions(text: str) -> int:
    """All that a dump has counted."""
    found = re.findall(r"^(?:summary|totals): (\d+)", text, re.M)
    return int(found[0]) if found else 0


def self_costs(text: str) -> Counter[str]:
    """Instructions by function, without those of the functions that it calls.

    The format: https://valgrind.org/docs/manual/cl-format.html. A name is written in full once,
    as `(12) name`, and as `(12)` from then on. The line after `calls=` is what the call cost
    in all, which belongs to the function that was called.
    """
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    function, of_a_call = "", False
    positions = 1
    for line in text.splitlines():
        if line.startswith("positions:"):
            positions = len(line.split()) - 1
        elif found := re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line):
            key, number, name = found.groups()
            if name:
                names[number] = name
            if key == "fn":
                function = names.get(number, f"({number})")
        elif line.startswith("calls="):
            of_a_call = True
        elif line[:1] in "0123456789+-*" and line:
            if not of_a_call:
                fields = line.split()
                if len(fields) > positions:
                    costs[function] += int(fields[positions])
            of_a_call = False
    return costs


def readable(name: str, width: int = 90) -> str:
    """A function's name without the hash of its symbol and the paths of its generics."""
    name = re.sub(r"::h[0-9a-f]{16}", "", name)
    name = re.sub(r"\s*'\d+$", "", name)
    shorter = re.sub(r"\b(?:[a-z_][a-z0-9_]*::)+(?=[A-Z<])", "", name)
    return shorter if len(shorter) <= width else shorter[: width - 1] + "…"
