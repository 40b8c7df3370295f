"""The arithmetic of the report: numbers in, numbers out."""

import math
import statistics
from collections.abc import Iterable

Sample = dict


def median(values: Iterable[float]) -> float:
    values = list(values)
    return statistics.median(values) if values else math.nan


def geometric_mean(values: Iterable[float]) -> float:
    """The mean of ratios: 2 and 1/2 cancel out."""
    values = list(values)
    if not values or any(math.isnan(value) or value <= 0 for value in values):
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values))


def paired(ours: Iterable[Sample], base: Iterable[Sample], field: str) -> list[float]:
    """Ours to base, round by round. What disturbs the machine for longer than a round is in both
    numbers of it, and cancels out; a round that only one of them finished has no ratio."""
    known = {(sample["run"], sample["round"]): sample[field] for sample in base}
    ratios = []
    for sample in ours:
        reference = known.get((sample["run"], sample["round"]))
        if reference:
            ratios.append(sample[field] / reference)
    return ratios


def half_range(values: Iterable[float]) -> float:
    """Half of what lies between the extremes, as a share of the median."""
    values = list(values)
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if values and middle else math.nan

