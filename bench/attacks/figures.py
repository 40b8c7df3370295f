"""The arithmetic: what a polite caller felt in some seconds, and what an attack changed of it."""

import math
import statistics
from collections.abc import Iterable, Sequence

# A call: its kind, when it was due, and the seconds until its answer had ended; none if it failed.
Call = tuple[str, float, float | None]


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that this share of all does not exceed."""
    values = sorted(values)
    return values[max(math.ceil(len(values) * share) - 1, 0)] if values else math.nan


def felt(calls: Iterable[Call], begin: float, end: float, kind: str | None = None) -> dict:
    """Of the calls that were due in this time."""
    due = [took for name, at, took in calls if begin <= at < end and kind in (None, name)]
    served = [took for took in due if took is not None]
    return {
        "calls": len(due),
        "failed": len(due) - len(served),
        "p50": percentile(served, 0.50),
        "p99": percentile(served, 0.99),
    }


def ratio(before: float, under: float, after: float) -> float:
    """Of a figure under attack to what it was just before and just after: the mean of ratios."""
    return under / math.sqrt(before * after)


def noise(before: float, after: float) -> float:
    """What the machine does by itself: how far two quiet measurements are apart, 1 or more."""
    return max(before, after) / min(before, after)


def middle(rounds: Sequence[dict], name: str) -> float:
    """The median of a figure over the rounds."""
    found = [each[name] for each in rounds if not math.isnan(each[name])]
    return statistics.median(found) if found else math.nan


def round_of(before: dict, under: dict, after: dict) -> dict:
    """What an attack changed. Each part has latencies in seconds, `cpu` of the gateway and
    `attacker` in seconds, `length`, and `others`: CPUs that programs of others had."""

    def each(part: dict) -> float:
        return part["cpu"] / part["calls"] * 1e6 if part["calls"] else math.nan

    return {
        "p50": ratio(before["p50"], under["p50"], after["p50"]),
        "p99": ratio(before["p99"], under["p99"], after["p99"]),
        "quiet_p50": math.sqrt(before["p50"] * after["p50"]),
        "quiet_p99": math.sqrt(before["p99"] * after["p99"]),
        "attack_p50": under["p50"],
        "attack_p99": under["p99"],
        "noise": noise(before["p99"], after["p99"]),
        "failed": under["failed"],
        "calls": under["calls"],
        "quiet_failed": before["failed"] + after["failed"],
        "quiet_cpu": (each(before) + each(after)) / 2,
        "attack_cpu": each(under),
        "gateway": under["cpu"] / under["length"],
        "attacker": under["attacker"] / under["length"],
        "others": under["others"],
        "quiet_others": (before["others"] + after["others"]) / 2,
    }
