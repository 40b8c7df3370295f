#!/usr/bin/env python3
"""How well one upstream limit is used and shared: on simulated time, and by the real programs.

Writes report.md and report.svg beside itself. All traffic stays on loopback, and every process
that is started here ends with this one. Needs Python 3.11 and, for the simulated part, cargo.
"""

import argparse
import dataclasses
import json
import multiprocessing
import platform
import shlex
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from goodput import callers, live, plot, report  # noqa: E402  (found only now)
from rig import machine, tools  # noqa: E402

LOADS = (0.5, 1.0, 2.0, 10.0)
# Callers that nothing holds back come back so often at 10x that this program would be the limit.
MOST_DIRECT = 2.0


def listed(kind):
    """The type of an option that takes several of a kind, with commas."""
    return lambda text: [kind(part) for part in text.split(",") if part]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    scale = live.Scale()
    parser.add_argument("--gateway", metavar="PATH", type=Path, help="the gateway; by default it is built")
    parser.add_argument("--simulated", metavar="FILE", type=Path,
                        help="what `cargo bench --bench goodput` printed; by default it is run")
    parser.add_argument("--live", metavar="FILE", type=Path, action="append",
                        help="results of an earlier run in real time, instead of a new one "
                        "(repeatable)")
    parser.add_argument("--only", choices=("simulated", "live"), help="one part only")
    parser.add_argument("--policies", type=listed(str), default=list(live.POLICIES))
    parser.add_argument("--mixes", type=listed(str), default=list(callers.MIXES))
    parser.add_argument("--loads", type=listed(float), default=list(LOADS))
    parser.add_argument("--runs", type=int, default=1, help="of each cell in real time")
    parser.add_argument("--window", type=float, default=scale.window,
                        help=f"seconds that stand for a minute (default: {scale.window:g})")
    parser.add_argument("--measured", type=int, default=scale.measured, help="windows, after a warm-up")
    parser.add_argument("--parallel", type=int, default=4, help="cells at once")
    parser.add_argument("--results", metavar="DIRECTORY", type=Path, default=tools.CACHE / "goodput")
    parser.add_argument("--report", metavar="FILE", type=Path, default=HERE / "report.md")
    return parser.parse_args()


def simulated(options: argparse.Namespace) -> dict:
    """The simulated part: read, or run."""
    if options.simulated:
        return json.loads(options.simulated.read_text())
    tools.say("==> cargo bench --bench goodput")
    command = ["cargo", "bench", "--locked", "--bench", "goodput"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=3600, cwd=tools.ROOT)
    (options.results / "simulated.json").write_bytes(done.stdout)
    return json.loads(done.stdout)


def in_real_time(options: argparse.Namespace) -> dict:
    """The real part: read, or played, some cells at once."""
    if options.live:
        return together([json.loads(file.read_text()) for file in options.live])
    gateway = (options.gateway or Path(tools.build_gateway())).resolve()
    scale = live.Scale(window=options.window, measured=options.measured)
    cells = [
        live.Cell(policy, mix, load, seed)
        for seed in range(1, options.runs + 1)
        for mix in options.mixes
        for load in options.loads
        for policy in options.policies
        if policy != "none" or load <= MOST_DIRECT
    ]
    # The heaviest together would be the machine's limit, not upstream's.
    cells.sort(key=lambda cell: (cell.seed, hash_of(cell)))
    length = max(scale.times(cell.mix)[2] for cell in cells)
    tools.say(f"==> {len(cells)} cells of up to {length:.0f} s, {options.parallel} at once")
    runs = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.parallel, mp_context=spawn) as pool:
        played = {pool.submit(live.run, gateway, cell, scale): cell for cell in cells}
        for done in as_completed(played):
            run = done.result()
            runs.append(run)
            tools.say(f"{len(runs)}/{len(cells)} {run['policy']} {run['mix']} {run['load']:g}x: "
                      f"used {run['used']:.1%}, upstream 429s {run['upstream_429']}")
    part = {
        "scale": {**dataclasses.asdict(scale), "max_wait": scale.max_wait},
        "about": f"{time.strftime('%Y-%m-%d')}, {options.parallel} at once on {machine.describe()}, "
                 f"Python {platform.python_version()}, gateway {tools.fingerprint(gateway)}, "
                 f"`{shlex.join(['bench/goodput/run.py', *told()])}`",
        "runs": runs,
    }
    part = together([part])
    (options.results / "live.json").write_text(json.dumps(part, indent=1))
    return part


def together(parts: list[dict]) -> dict:
    """Several runs in real time as one, if they played a minute in the same way."""
    if any(part["scale"] != parts[0]["scale"] for part in parts):
        raise SystemExit("goodput: the files do not have the same windows")
    runs = [run for part in parts for run in part["runs"]]
    policies = list(live.POLICIES)
    runs.sort(key=lambda run: (callers.MIXES.index(run["mix"]), run["load"],
                               policies.index(run["policy"]), run["seed"]))
    return {**parts[0], "about": "; ".join(part["about"] for part in parts), "runs": runs}


def hash_of(cell: live.Cell) -> int:
    """Mixed, but always in the same way."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(f"{cell}")) % 9973


def told() -> list[str]:
    """Our arguments, without directories of this machine."""
    return [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]


def main():
    options = arguments()
    options.results.mkdir(parents=True, exist_ok=True)
    parts = {}
    if options.only != "live":
        part = simulated(options)
        parts["simulated"] = report.with_rates(part, {"": part["minutes"]})
    if options.only != "simulated":
        part = in_real_time(options)
        scale = part["scale"]
        windows = {"": scale["measured"], "outsider": scale["measured_outsider"]}
        parts["live"] = report.with_rates(part, windows)
    picture = options.report.with_suffix(".svg")
    options.report.write_text(report.write(parts, picture.name))
    if "simulated" in parts:
        picture.write_text(plot.draw(parts["simulated"]["runs"]))
    tools.say(f"==> {options.report}")


if __name__ == "__main__":
    main()
