"""Who calls, and how often: the same mixes as in benches/goodput/callers.rs.

A habit yields how long it pauses and how many calls come then, for ever. A minute is a window.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

MIXES = ("equal", "greedy", "bursty", "outsider")
CALLERS = 8
# Calls of the polite caller in a window: one every five seconds of a minute.
POLITE = 12
# The outsider's part of the limit.
OUTSIDE = 0.2
# How often a caller comes back: the SDK for Python.
RETURNS = 10

Habit = Iterator[tuple[float, int]]


@dataclass
class Party:
    habits: list[Habit]
    # Those whose waits are looked at.
    watched: set[int]


def party(mix: str, load: float, limit: int, window: float, dice: random.Random) -> Party:
    """The callers of a mix at `load` times what upstream allows."""
    each = limit * load / CALLERS
    equal = [at_random(each, window, dice) for _ in range(CALLERS)]
    if mix == "greedy":
        greedy = at_random(limit * load * 0.9, window, dice)
        return Party([greedy, steady(POLITE, window, dice)], {1})
    if mix == "bursty":
        half = CALLERS // 2
        bursts = [at_once(each, window, dice) for _ in range(half)]
        return Party(bursts + equal[half:], set(range(half, CALLERS)))
    return Party(equal, set(range(CALLERS)))


def at_random(calls: float, window: float, dice: random.Random) -> Habit:
    """A Poisson process with so many calls in a window."""
    while True:
        yield dice.expovariate(calls / window), 1


def steady(calls: float, window: float, dice: random.Random) -> Habit:
    """One after the other, give or take a tenth."""
    pause = window / calls
    yield pause * dice.random(), 1
    while True:
        yield pause * dice.uniform(0.9, 1.1), 1


def at_once(calls: float, window: float, dice: random.Random) -> Habit:
    """All calls of a window together; a part of one that is left over comes with the next."""
    pause, owed = window * dice.random(), 0.0
    while True:
        owed += calls
        yield pause, int(owed)
        pause, owed = window, owed - int(owed)
