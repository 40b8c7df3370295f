"""The report: what was measured, as Markdown. Everything in it comes from the samples."""

import math
from collections.abc import Iterable

from . import caller, callgrind
from .figures import geometric_mean, half_range, median, paired
from .footprint import UPLOADS
from .load import DOWNLOADS, WORKLOADS
from .results import Results
from .targets import BASE, GATEWAY, OURS

UPSTREAM_TITLES = {
    "http": "HTTP upstream",
    "https": "HTTPS upstream (HTTP/1.1)",
    "h2": "HTTPS upstream that offers HTTP/2",
}
# CPU per call, as a share of nginx's: kind of upstream, workloads, at most.
GOALS = (
    ("https", tuple(WORKLOADS), 0.80),
    ("http", tuple(WORKLOADS), 1.00),
    ("h2", ("get1k@64",), 0.70),
    ("h2", ("get1k@256",), 0.70),
    ("h2", ("get16k@64",), 0.70),
)

INTRODUCTION = f"""\
# The gateway beside nginx, HAProxy and Envoy

Every target does the same work in front of the same origin on one machine: it keeps connections
alive, verifies the origin's certificate and replaces `Authorization` by the token, without which
the origin answers 401. The gateway does so with everything on: token, budget (too large to bite),
replay copies, access log to a file; the others write no access log and limit nothing. Where the
origin offers HTTP/2, HAProxy, Envoy and the gateway speak it; nginx cannot, and speaks HTTP/1.1
to the same port.

The target is alone on one CPU with one worker; load generator and origin are on the others. CPU
is user and system time of the target's whole process tree. On loopback the kernel delivers what
a target sends at the target's expense: a network card would take part of that from all of them.
Ratios are to {BASE} in the same round, the median over the rounds; below 1 is less than {BASE}.
"""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown; the first column is text, the rest are figures."""
    rows = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def number(value: float, digits: int = 0) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def field(samples: list[dict], name: str) -> list[float]:
    return [sample[name] for sample in samples if name in sample]


def write(results: Results, picture: str) -> str:
    """The whole report; `picture` lies beside it."""
    parts = [
        INTRODUCTION,
        goals(results),
        chart(results, picture),
        instructions(results),
        load(results),
        latency(results),
        memory(results),
        start(results),
        python(results),
        profile(results),
        about(results),
    ]
    return "\n".join(part for part in parts if part)


def ratios(results: Results, upstream: str, workload: str, target: str, name: str) -> list[float]:
    """A target to nginx, round by round."""
    where = {"upstream": upstream, "workload": workload}
    base = results.of("load", target=BASE, **where)
    return paired(results.of("load", target=target, **where), base, name)


def mean_ratio(results: Results, upstream: str, workloads: Iterable[str], target: str) -> float:
    """CPU per call against nginx over several workloads; not a number if one is missing."""
    of_each = (median(ratios(results, upstream, name, target, "cpu")) for name in workloads)
    return geometric_mean(of_each)


def goals(results: Results) -> str:
    ours = [name for name in OURS if results.of("load", target=name)]
    if not ours:
        return ""
    rows = []
    for upstream, workloads, most in GOALS:
        if not results.of("load", upstream=upstream):
            continue
        what = WORKLOADS[workloads[0]].label if len(workloads) == 1 else "all, geometric mean"
        row = [f"{UPSTREAM_TITLES[upstream]}: {what}", f"≤ {most:.2f}"]
        for name in ours:
            reached = mean_ratio(results, upstream, workloads, name)
            met = "" if math.isnan(reached) else " ✓" if reached <= most else " ✗"
            row.append(number(reached, 2) + met)
        rows.append(row)
    head = [f"CPU per call, {BASE} = 1", "goal", *ours]
    return "## Goals\n\n" + table(head, rows) if rows else ""


def chart(results: Results, picture: str) -> str:
    if not results.of("load"):
        return ""
    text = "CPU per call relative to nginx, by workload and target"
    return f"## CPU per call\n\n![{text}]({picture})\n\n" + "\n".join(
        overview(results, upstream) for upstream in results.order("load", "upstream")
    )


def overview(results: Results, upstream: str) -> str:
    """One row a target, one column a workload: the ratios of the picture."""
    workloads = results.order("load", "workload", upstream=upstream)
    rows = []
    for target in results.order("load", "target", upstream=upstream):
        of_each = [median(ratios(results, upstream, name, target, "cpu")) for name in workloads]
        figures = [*of_each, geometric_mean(of_each)]
        rows.append([target, *(number(figure, 2) for figure in figures)])
    labels = [WORKLOADS[name].label for name in workloads]
    head = [f"{BASE} = 1", *labels, "geometric mean"]
    return f"### {UPSTREAM_TITLES[upstream]}\n\n" + table(head, rows)


def load(results: Results) -> str:
    parts = []
    for upstream in results.order("load", "upstream"):
        for workload in results.order("load", "workload", upstream=upstream):
            label = WORKLOADS[workload].label
            title = f"### {label}, {UPSTREAM_TITLES[upstream]}\n\n"
            parts.append(title + load_table(results, upstream, workload))
    if not parts:
        return ""
    explained = (
        "Medians over the rounds; ± is half of what lies between the extremes. *busy*: how much "
        "of its CPU the target used; well below 1, calls per second say more about the generator "
        "and the origin, which share a CPU. Latency here is under as much load as goes through."
        "\n\n"
    )
    return "## Load, in detail\n\n" + explained + "\n".join(parts)


def load_table(results: Results, upstream: str, workload: str) -> str:
    rows = []
    for target in results.order("load", "target", upstream=upstream, workload=workload):
        where = {"upstream": upstream, "workload": workload, "target": target}
        samples = results.of("load", **where)
        cpu = ratios(results, upstream, workload, target, "cpu")
        rate = ratios(results, upstream, workload, target, "rate")
        spread = half_range(field(samples, "cpu")) * 100
        rows.append(
            [
                target,
                number(median(field(samples, "cpu")), 1),
                f"± {number(spread)} %",
                number(median(field(samples, "user")), 1),
                number(median(cpu), 2),
                f"{number(min(cpu, default=math.nan), 2)}–{number(max(cpu, default=math.nan), 2)}",
                number(median(field(samples, "rate"))),
                number(median(rate), 2),
                number(median(field(samples, "busy")), 2),
                number(median(field(samples, "p50"))),
                number(median(field(samples, "p99"))),
            ]
        )
    head = ["target", "CPU µs/call", "", "of it user", f"to {BASE}", "rounds", "calls/s"]
    return table([*head, f"to {BASE}", "busy", "p50 µs", "p99 µs"], rows)


def latency(results: Results) -> str:
    parts = []
    for upstream in results.order("latency", "upstream"):
        offered = results.of("latency", upstream=upstream)[0]["offered"]
        title = f"### {offered:,} calls of 1 KiB a second over 32 connections, "
        head = ["target", "calls/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs/call"]
        names = ("rate", "p50", "p99", "p999")
        rows = latency_rows(results, "latency", upstream, names)
        parts.append(f"{title}{UPSTREAM_TITLES[upstream]}\n\n" + table(head, rows))
    for upstream in results.order("mixed", "upstream"):
        offered = results.of("mixed", upstream=upstream)[0]["offered"]
        title = f"### {offered:,} small calls a second beside downloads of 1 MiB, "
        head = ["target", "calls/s", "p50 µs", "p99 µs", "p99.9 µs", "downloads MB/s"]
        names = ("rate", "p50", "p99", "p999", "downloads")
        rows = [row[:-1] for row in latency_rows(results, "mixed", upstream, names)]
        parts.append(f"{title}{UPSTREAM_TITLES[upstream]}\n\n" + table(head, rows))
    if not parts:
        return ""
    explained = (
        "Calls leave at a fixed rate, whether or not earlier ones are answered, and each is "
        "counted from when it was due: a stall shows in every call behind it. The downloads are "
        f"over {DOWNLOADS.connections} other connections with {DOWNLOADS.pause} ms between two of "
        "them; targets have two workers there, and nothing is pinned.\n\n"
    )
    return "## Latency\n\n" + explained + "\n".join(parts)


def latency_rows(results: Results, kind: str, upstream: str, names: tuple[str, ...]) -> list:
    rows = []
    for target in results.order(kind, "target", upstream=upstream):
        samples = results.of(kind, upstream=upstream, target=target)
        figures = [number(median(field(samples, name))) for name in names]
        rows.append([target, *figures, number(median(field(samples, "cpu")), 1)])
    return rows


def memory(results: Results) -> str:
    parts = []
    mib = 1024
    rows = []
    for target in results.order("connections", "target"):
        samples = results.of("connections", target=target)
        rows.append(
            [
                target,
                *(number(median(field(samples, name)) / mib, 1) for name in ("idle", "held")),
                number(median(field(samples, "each")), 1),
                number(median(field(samples, "after")) / mib, 1),
            ]
        )
    if rows:
        count = results.of("connections")[0]["connections"]
        head = ["target", "idle MiB", f"{count:,} connections MiB", "KiB each", "closed again MiB"]
        parts.append("### Idle connections, after one call on each\n\n" + table(head, rows))
    rows = []
    for target in results.order("uploads", "target"):
        samples = results.of("uploads", target=target)
        figures = [median(field(samples, name)) / mib for name in ("idle", "held", "peak")]
        rows.append([target, *(number(figure, 1) for figure in figures)])
    if rows:
        head = ["target", "idle MiB", "all but arrived MiB", "peak MiB (RSS)"]
        explained = "The gateway holds a copy of each body, to send it again after a 401.\n\n"
        title = f"### {UPLOADS} uploads of 1 MiB at once\n\n"
        parts.append(title + explained + table(head, rows))
    if not parts:
        return ""
    explained = "PSS of the whole process tree: pages that several processes share count once.\n\n"
    return "## Memory\n\n" + explained + "\n".join(parts)


def start(results: Results) -> str:
    rows = []
    for target in results.order("start", "target"):
        took = field(results.of("start", target=target), "milliseconds")
        size = results.of("size", target=target)
        disk = [size[-1][name] / 2**20 if size else math.nan for name in ("built", "stripped")]
        rows.append([target, number(median(took)), *(number(figure, 1) for figure in disk)])
    if not rows:
        return ""
    explained = (
        "From the start of the process to the first signed answer; the gateway mints its token on "
        "the way. What peers are made of is spread over shared libraries, so that the size of "
        "their programs says little.\n\n"
    )
    head = ["target", "cold start ms", "on disk MiB", "without symbols MiB"]
    return "## Start and size\n\n" + explained + table(head, rows)


def python(results: Results) -> str:
    direct = field(results.of("python", target="directly"), "rate")
    if not direct:
        return ""
    base = median(direct)
    rows = [["to the API itself, a new TLS connection for each call", number(base), "1.0"]]
    for target in results.order("python", "target"):
        if target == "directly":
            continue
        for manner in (caller.TUTORIAL, caller.KEPT):
            rate = median(field(results.of("python", target=target, manner=manner), "rate"))
            each = "a new connection for each call" if manner == caller.TUTORIAL else manner
            rows.append([f"through {target}, {each}", number(rate), number(rate / base, 1)])
    explained = (
        "One thread, 1 KiB a call. Directly: `urllib` as in tutorials, which reads the trusted "
        "roots and makes a TLS connection for each call; its token is given to it, which a real "
        "script has to mint. Through a proxy: the same script with another base URL, and one that "
        "keeps its connection. There is no network in between here, which would cost the direct "
        "calls two or three round trips each.\n\n"
    )
    return "## A Python script\n\n" + explained + table(["script", "calls/s", "times"], rows)


def instructions(results: Results) -> str:
    upstreams = results.order("instructions", "upstream")
    if not upstreams:
        return ""
    rows = []
    for target in results.order("instructions", "target"):
        row = [target]
        for upstream in upstreams:
            samples = results.of("instructions", upstream=upstream, target=target)
            base = median(
                field(results.of("instructions", upstream=upstream, target=BASE), "instructions")
            )
            counted = median(field(samples, "instructions"))
            row += [number(counted), number(counted / base, 2)]
        rows.append(row)
    head = ["target"]
    for upstream in upstreams:
        head += [UPSTREAM_TITLES[upstream], f"to {BASE}"]
    label = WORKLOADS[results.of("instructions")[0]["workload"]].label
    explained = (
        f"In user space for each call ({label}), counted by valgrind, so that other work on the "
        "machine does not show. What the kernel does is not in it.\n\n"
    )
    return "## Instructions\n\n" + explained + table(head, rows)


def profile(results: Results) -> str:
    parts = []
    for sample in results.of("instructions", target=GATEWAY):
        rows = [
            [f"`{callgrind.readable(name).replace('|', '¦')}`", number(cost),
             number(cost / sample["instructions"] * 100, 1)]
            for name, cost in sample["profile"]
        ]
        head = ["function", "instructions a call", "%"]
        parts.append(f"### {UPSTREAM_TITLES[sample['upstream']]}\n\n" + table(head, rows))
    if not parts:
        return ""
    explained = "Instructions of the gateway by function, without those of what it calls.\n\n"
    return "## Where the gateway's instructions go\n\n" + explained + "\n".join(parts)


def about(results: Results) -> str:
    parts = ["## How this was measured\n"]
    for run in results.runs:
        builds = ", ".join(f"{name} {build(is_)}" for name, is_ in run["targets"].items())
        used = ", ".join(f"{name} {version}" for name, version in run["tools"].items())
        parts.append(
            f"- {run['date']}, {run['rounds']} rounds of {run['seconds']:g} s on {run['machine']}\n"
            f"  - `{run['command']}`\n"
            f"  - targets: {builds}\n"
            f"  - with: {used}\n"
        )
    return "\n".join(parts)


def build(identity: dict[str, str]) -> str:
    if "command" in identity:
        return f"`{identity['command']}`"
    return " ".join(identity.values())
