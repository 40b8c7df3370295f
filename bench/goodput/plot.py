"""The picture: one panel a figure, one group a load, one bar a policy, as SVG written by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from rig.plot import STYLE, rect, text

from .figures import Run, median, order, pick
from .report import POLICIES

WIDTH = 960
LEFT, RIGHT = 56, 16
TITLE, LEGEND = 52, 34
PANEL, PANEL_HEAD, PANEL_FOOT = 130, 34, 26
GROUP_GAP = 24
TICKS = 5

# Told apart with any kind of colour vision (Okabe and Ito), on white and on black.
COLOURS = {
    "gateway": "#009e73",
    "gateway-even": "#56b4e9",
    "fifo": "#e69f00",
    "bucket-300": "#cc79a7",
    "bucket-30": "#d55e00",
    "none": "#8a8f98",
}


@dataclass(frozen=True)
class Panel:
    title: str
    mix: str
    name: str
    factor: float = 1
    digits: int = 0
    # The axis ends there; `None`: at a round number above the highest bar.
    ceiling: float | None = None


PANELS = (
    Panel("Eight equal callers: used share of the allowance, %", "equal", "used", 100, 0, 100),
    Panel("Eight equal callers: upstream's 429s a minute", "equal", "upstream_429_per_minute"),
    Panel("Beside a greedy caller: the polite one's p99 wait, s", "greedy", "wait_p99"),
    Panel("Beside a greedy caller: the polite one's calls that never saw a 429, %", "greedy",
          "unbothered", 100, 0, 100),
    Panel("Four that burst, four that are steady: Jain's index of all", "bursty", "jain", 1, 2, 1),
    Panel("Eight equal callers: Retry-After told, then served in time, %", "equal", "kept", 100, 0,
          100),
)


def draw(runs: list[Run]) -> str:
    """The whole picture, of callers that come back when they are told to."""
    runs = pick(runs, manner="obeys")
    policies = [policy for policy in POLICIES if policy in order(runs, "policy")]
    height = TITLE + LEGEND + len(PANELS) * (PANEL_HEAD + PANEL + PANEL_FOOT) + 8
    parts = [
        text(LEFT, 24, "Using and sharing 300 calls a minute", "title"),
        text(LEFT, 42, "simulated time, medians over the seeds; groups are the offered load", "soft"),
    ]
    x = LEFT
    for policy in policies:
        parts.append(rect(x, TITLE + 6, 12, 12, COLOURS[policy]))
        parts.append(text(x + 18, TITLE + 16, POLICIES[policy]))
        x += 18 + 7 * len(POLICIES[policy]) + 26
    top = TITLE + LEGEND
    for panel in PANELS:
        parts += drawn(panel, runs, policies, top)
        top += PANEL_HEAD + PANEL + PANEL_FOOT
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="Used share, 429s, waits, fairness and promises by load and policy">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="var(--paper)"/>\n{body}\n</svg>\n'
    )


def drawn(panel: Panel, runs: list[Run], policies: list[str], top: float) -> list[str]:
    of_mix = pick(runs, mix=panel.mix)
    loads = order(of_mix, "load")

    def value(load: float, policy: str) -> float:
        return median(pick(of_mix, load=load, policy=policy), panel.name) * panel.factor

    bars = {(load, policy): value(load, policy) for load in loads for policy in policies}
    known = [bar for bar in bars.values() if not math.isnan(bar)]
    ceiling = panel.ceiling or scale(max(known, default=1))
    floor = top + PANEL_HEAD + PANEL

    def y(height: float) -> float:
        return floor - min(height, ceiling) / ceiling * PANEL

    parts = [text(LEFT, top + 16, panel.title, "panel"), *axis(ceiling, y)]
    slot = (WIDTH - LEFT - RIGHT) / max(len(loads), 1)
    width = (slot - GROUP_GAP) / len(policies)
    figures = []
    for place, load in enumerate(loads):
        left = LEFT + place * slot + GROUP_GAP / 2
        for index, policy in enumerate(policies):
            bar, x = bars[load, policy], left + index * width
            middle = x + width / 2
            if math.isnan(bar):
                figures.append(text(middle, floor - 4, "–", "soft", "middle"))
                continue
            words = f"{bar:.{panel.digits}f}" if bar >= 10 or panel.digits else f"{bar:.1f}"
            tip = f"{POLICIES[policy]}, {load:g}x: {words}"
            parts.append(rect(x + 1, y(bar), width - 2, floor - y(bar), COLOURS[policy], tip))
            figures.append(
                text(middle, y(bar) - 3, words, "value", "middle", ' style="font-size: 10px"')
            )
        parts.append(text(left + (slot - GROUP_GAP) / 2, floor + 16, f"{load:g}x", "soft", "middle"))
    # The figures last: nothing runs through them.
    return [*parts, *figures]


def axis(ceiling: float, y: Callable[[float], float]) -> list[str]:
    parts = []
    for tick in range(TICKS + 1):
        at = ceiling * tick / TICKS
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}" class="grid"/>'
        )
        parts.append(text(LEFT - 8, y(at) + 4, f"{at:g}", "soft", "end"))
    return parts


def scale(highest: float) -> float:
    """A round number above the highest bar and its label."""
    wanted = max(highest * 1.1, 1)
    step = 10 ** math.floor(math.log10(wanted))
    return next(step * part for part in (1, 2, 5, 10) if step * part >= wanted)
