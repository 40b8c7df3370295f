"""The report: what was simulated and what was measured, as Markdown. Everything in it comes from
the runs."""

from rig.report import number, table

from .figures import Run, highest, lowest, median, order, pick, values

GATEWAY = ("gateway", "gateway-even")
POLICIES = {
    "gateway": "gateway, burst",
    "gateway-even": "gateway, even",
    "fifo": "FIFO",
    "bucket-300": "token bucket, 300",
    "bucket-30": "token bucket, 30",
    "none": "nothing",
}
MIXES = {
    "equal": "Eight equal callers",
    "greedy": "A greedy caller and a polite one",
    "bursty": "Four callers that burst, four that are steady",
    "outsider": "Eight equal callers, and a program outside that uses a fifth of the limit",
}
WATCHED = {
    "equal": "all callers'",
    "greedy": "the polite caller's",
    "bursty": "the steady callers'",
    "outsider": "all callers'",
}
KINDS = {"simulated": "simulated", "live": "real time"}

INTRODUCTION = """\
# Using and sharing one limit

Upstream allows 300 calls in a window that begins with its first call, and answers 429 beyond. What
is compared stands between it and callers who offer 0.5, 1, 2 and 10 times as much: the gateway with
`pacing = "burst"` and `"even"`, one line in order of arrival (FIFO), a token bucket without a line
(with room for 300 calls and for 30), and nothing at all. `README.md` says precisely what each
figure is.
"""

COLUMNS = (
    ("offered %", "offered", 100, 1),
    ("used %", "used", 100, 1),
    ("upstream 429s/min", "upstream_429_per_minute", 1, 1),
    ("callers' 429s/min", "caller_429_per_minute", 1, 1),
    ("Jain", "jain", 1, 3),
    ("wait p50 s", "wait_p50", 1, 1),
    ("wait p99 s", "wait_p99", 1, 1),
    ("no 429 %", "unbothered", 100, 1),
    ("served %", "served", 100, 1),
    ("promises kept %", "kept", 100, 1),
)


def write(parts: dict[str, dict], picture: str) -> str:
    """The whole report; `parts` are the simulated and the live results, either may be missing."""
    text = [INTRODUCTION, goals(parts), f"![Used share, waits and promises, by policy]({picture})\n"]
    for kind, title in (("simulated", "Simulated time"), ("live", "Real time")):
        if kind in parts:
            text += [f"## {title}\n", explained(kind, parts[kind]), *tables(parts[kind]["runs"])]
    text.append(about(parts))
    return "\n".join(text)


def goals(parts: dict[str, dict]) -> str:
    """Each goal, the worst run that it speaks of, and whether that met it."""
    rows = []
    for words, digits, factor, meets, worst, name, where in GOALS:
        for kind, title in KINDS.items():
            runs = pick(parts.get(kind, {"runs": []})["runs"], **{"manner": "obeys", **where})
            for policy in GATEWAY:
                of_policy = pick(runs, policy=policy)
                if not values(of_policy, name):
                    continue
                value = worst(of_policy, name)
                middle = median(of_policy, name)
                rows.append(
                    [
                        words,
                        POLICIES[policy],
                        title,
                        number(value * factor, digits),
                        number(middle * factor, digits),
                        "yes" if meets(value) else "**no**",
                    ]
                )
    head = ["goal", "policy", "time", "worst run", "median run", "met by the worst"]
    return "## Goals\n\n" + table(head, rows)


WITHOUT_OUTSIDER = {"mix": ("equal", "greedy", "bursty")}
GOALS = (
    ("used ≥ 98 % at 1x and more, equal callers", 2, 100, lambda value: value >= 0.98, lowest,
     "used", {"mix": "equal", "load": (1, 2, 10)}),
    ("the same, of what was offered where that is less", 2, 100, lambda value: value >= 0.98, lowest,
     "used_of_usable", {"mix": "equal", "load": (1, 2, 10)}),
    ("no 429 of upstream without an outsider", 0, 1, lambda value: value == 0, highest,
     "upstream_429", WITHOUT_OUTSIDER),
    ("Jain ≥ 0.95 among equal callers", 3, 1, lambda value: value >= 0.95, lowest,
     "jain", {"mix": "equal"}),
    ("the same, when callers never come back", 3, 1, lambda value: value >= 0.95, lowest,
     "jain", {"mix": "equal", "manner": "leaves"}),
    ("promises kept, %: equal callers", 1, 100, lambda value: value >= 0.99, lowest,
     "kept", {"mix": "equal"}),
    ("promises kept, %: all mixes without an outsider", 1, 100, lambda value: value >= 0.99, lowest,
     "kept", WITHOUT_OUTSIDER),
)


def tables(runs: list[Run]) -> list[str]:
    text = []
    for mix in order(runs, "mix"):
        text.append(f"### {MIXES[mix]}\n")
        for manner in order(runs, "manner"):
            of = pick(runs, mix=mix, manner=manner)
            if of:
                text.append(MANNERS[manner].format(whose=WATCHED[mix]))
                text.append(one_table(of))
    return text


MANNERS = {
    "obeys": "Callers come back when they are told to; waits and \"no 429\" are {whose}.\n",
    "leaves": "The same, when callers never come back.\n",
}


def one_table(runs: list[Run]) -> str:
    rows = []
    for load in order(runs, "load"):
        for policy in order(runs, "policy"):
            of = pick(runs, load=load, policy=policy)
            if of:
                cells = [
                    "–" if name == "jain" and run_of(of, "mix") == "greedy"
                    else number(median(of, name) * factor, digits)
                    for _, name, factor, digits in COLUMNS
                ]
                rows.append([f"{load:g}x, {POLICIES[policy]}", *cells])
    return table(["load, policy", *(title for title, *_ in COLUMNS)], rows)


def explained(kind: str, part: dict) -> str:
    if kind == "simulated":
        return (
            f"The gateway's own decisions (`decide::turns`) on a simulated clock: {part['minutes']} "
            f"minutes after a warm-up of two, {part['seeds']} seeds, medians. The same seeds give "
            "the same figures on any machine.\n"
        )
    scale = part["scale"]
    return (
        "The real programs on loopback, the simulator as upstream: "
        f"{scale['limit']} calls in {scale['window']:g} s instead of a minute, and a `max_wait` of "
        f"{scale['max_wait']:g} s instead of 12 s. Retry-After is in whole seconds all the same, of "
        f"which a window has {scale['window']:g} and not 60: what is lost to rounding is "
        f"{60 / scale['window']:g} times as much. {scale['measured']} windows after a warm-up of "
        f"{scale['warm_up']} ({scale['measured_outsider']} with the outsider); "
        f"runs of each cell: {len(order(part['runs'], 'seed'))}. FIFO and the token bucket are no programs, and "
        "are simulated only.\n"
    )


def about(parts: dict[str, dict]) -> str:
    lines = ["## How this was measured\n"]
    for kind, part in parts.items():
        lines.append(f"- {KINDS[kind]}: {len(part['runs'])} runs, {part.get('about', '')}".rstrip(", "))
    failed = {}
    for run in parts.get("live", {"runs": []})["runs"]:
        for why, count in run["failures"].items():
            failed[why] = failed.get(why, 0) + count
    if "live" in parts:
        words = ", ".join(f"{count} × {why}" for why, count in sorted(failed.items())) or "none"
        lines.append(f"- calls in real time that ended in neither 200 nor 429: {words}")
    return "\n".join(lines) + "\n"


def with_rates(part: dict, minutes: dict[str, float]) -> dict:
    """Counts per minute of upstream's, where runs are of different length."""
    for run in part["runs"]:
        length = minutes.get(run["mix"], minutes[""])
        run["upstream_429_per_minute"] = run["upstream_429"] / length
    return part


def run_of(runs: list[Run], name: str):
    """What all of these runs are."""
    (value,) = {run[name] for run in runs}
    return value
