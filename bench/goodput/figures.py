"""The arithmetic: what came of the calls of one run, and of several runs of one kind."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

Run = dict


@dataclass
class Call:
    """One call of a caller, however often it had to come back. Times are seconds."""

    caller: int
    first: float
    # When its last try came, and when that was answered.
    came: float = 0.0
    served: float | None = None
    refusals: int = 0
    # When it was told to come back, each time; and whether it came and was served then.
    promises: list["Promise"] = field(default_factory=list)


@dataclass
class Promise:
    """A caller was told to come back at `told`."""

    told: float
    came: float | None = None
    served: float | None = None

    def claimed(self) -> bool:
        """It came back within a second of the time that it was told."""
        return self.came is not None and 0 <= self.came - self.told <= 1

    def kept(self, max_wait: float) -> bool:
        """And was served within `max_wait`; the answer itself takes some time."""
        return self.claimed() and self.served is not None and (
            self.served - self.came <= max_wait + 0.5
        )


def jain(shares: Iterable[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has everything."""
    shares = list(shares)
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def percentile(values: Iterable[float], share: float) -> float | None:
    """The smallest value that this share of all does not exceed."""
    values = sorted(values)
    return values[max(math.ceil(len(values) * share) - 1, 0)] if values else None


def weight(at: float, measured: tuple[float, float], window: float) -> float:
    """How much a call counts as use of the allowance: less and less in the first and the last
    window of the measured time. Who uses a window at once does so five or six times in five
    windows, and whether the last time is inside must not matter."""
    start, end = measured
    return min(max(min(at - start, end - at) / window, 0), 1)


def used(
    times: Iterable[float], limit: int, measured: tuple[float, float], window: float
) -> float:
    """The share of the allowance that calls at these times are."""
    start, end = measured
    # Half a window is lost to the weights at either end.
    allowed = limit * ((end - start) / window - 1)
    return sum(weight(at, measured, window) for at in times) / allowed


def measure(
    calls: list[Call],
    callers: int,
    watched: Iterable[int],
    refusals: Iterable[float],
    measured: tuple[float, float],
    window: float,
    max_wait: float,
) -> Run:
    """What the callers saw between the two times of `measured`; a minute is a window."""
    start, end = measured
    watched = set(watched)

    def counts(at: float | None) -> bool:
        return at is not None and start <= at < end

    served = [0] * callers
    for call in calls:
        served[call.caller] += counts(call.served)
    asked = [call for call in calls if counts(call.first)]
    looked_at = [call for call in asked if call.caller in watched]
    waits = [call.served - call.first for call in looked_at if call.served is not None]
    promises = [each for call in calls for each in call.promises if counts(each.told)]
    return {
        "jain": jain(served),
        "caller_429_per_minute": sum(map(counts, refusals)) / (end - start) * window,
        "wait_p50": percentile(waits, 0.50),
        "wait_p99": percentile(waits, 0.99),
        "watched": len(looked_at),
        "watched_served": len(waits),
        "watched_without_429": sum(
            call.served is not None and not call.refusals for call in looked_at
        ),
        "asked": len(asked),
        "asked_served": sum(call.served is not None for call in asked),
        "promises": len(promises),
        "promises_claimed": sum(each.claimed() for each in promises),
        "promises_kept": sum(each.kept(max_wait) for each in promises),
    }


def share(part: float, whole: float) -> float:
    """Not a number where there is nothing to share."""
    return part / whole if whole else math.nan


DERIVED = {
    "kept": lambda run: share(run["promises_kept"], run["promises_claimed"]),
    "unbothered": lambda run: share(run["watched_without_429"], run["watched"]),
    # What could be used: what was offered, and no more than is allowed.
    "used_of_usable": lambda run: share(run["used"], min(run["offered"], 1)),
    "served": lambda run: share(run["asked_served"], run["asked"]),
}


def values(runs: Iterable[Run], name: str) -> list[float]:
    """One figure of each run that has it."""
    of = DERIVED.get(name, lambda run: run.get(name))
    found = (of(run) for run in runs)
    return [value for value in found if value is not None and not math.isnan(value)]


def median(runs: Iterable[Run], name: str) -> float:
    found = values(runs, name)
    return statistics.median(found) if found else math.nan


def lowest(runs: Iterable[Run], name: str) -> float:
    return min(values(runs, name), default=math.nan)


def highest(runs: Iterable[Run], name: str) -> float:
    return max(values(runs, name), default=math.nan)


def pick(runs: Iterable[Run], **where) -> list[Run]:
    """Those that are what `where` says; a tuple is any of them."""
    def fits(run: Run) -> bool:
        return all(
            run[key] in wanted if isinstance(wanted, tuple) else run[key] == wanted
            for key, wanted in where.items()
        )

    return [run for run in runs if fits(run)]


def order(runs: Iterable[Run], name: str) -> list:
    """The values of a field, in the order in which they come."""
    return list(dict.fromkeys(run[name] for run in runs))
