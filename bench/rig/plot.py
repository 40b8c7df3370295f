"""The picture: CPU per call relative to nginx, as SVG written by hand.

One panel a kind of upstream, one group a workload, one bar a target. It follows the reader's
light or dark scheme, and needs no font or script from elsewhere.
"""

import math
from html import escape

from .figures import geometric_mean, median
from .load import WORKLOADS
from .report import UPSTREAM_TITLES, ratios
from .results import Results
from .targets import BASE, BEFORE, GATEWAY, PGO

WIDTH = 960
LEFT, RIGHT = 48, 16
TITLE, LEGEND = 52, 34
PANEL, PANEL_HEAD, PANEL_FOOT = 170, 34, 30
GROUP_GAP = 18
TICKS = 5

# Told apart with any kind of colour vision (Okabe and Ito), on white and on black.
COLOURS = {
    BASE: "#8a8f98",
    "haproxy": "#e69f00",
    "envoy": "#cc79a7",
    BEFORE: "#56b4e9",
    GATEWAY: "#009e73",
    PGO: "#00694d",
}
MORE_COLOURS = ("#d55e00", "#0072b2", "#b8a800")

STYLE = """
  svg { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #d8dee4; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1; --line: #30363d; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .title { font-size: 17px; font-weight: 600; }
  .panel { font-size: 13px; font-weight: 600; }
  .soft { fill: var(--soft); }
  .value { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
  .grid { stroke: var(--line); }
  .base { stroke: var(--ink); stroke-dasharray: 4 3; }
"""


def draw(results: Results) -> str:
    """The whole picture; one line of text where there is nothing to draw."""
    upstreams = results.order("load", "upstream")
    targets = results.order("load", "target")
    colours = assign(targets)
    height = TITLE + LEGEND + len(upstreams) * (PANEL_HEAD + PANEL + PANEL_FOOT) + 8
    parts = [
        text(LEFT, 24, "CPU per call, relative to nginx", "title"),
        text(LEFT, 42, "user and system time of a proxy with one worker; lower is better", "soft"),
        *legend(targets, colours),
    ]
    top = TITLE + LEGEND
    for upstream in upstreams:
        parts += panel(results, upstream, targets, colours, top)
        top += PANEL_HEAD + PANEL + PANEL_FOOT
    if not upstreams:
        parts.append(text(LEFT, top, "No load was measured."))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="CPU per call relative to nginx, by workload and proxy">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="var(--paper)"/>\n{body}\n</svg>\n'
    )


def assign(targets: list[str]) -> dict[str, str]:
    """The same colour for the same target in every picture; peers share what is left."""
    peers = [name for name in targets if name not in COLOURS]
    return COLOURS | {
        name: MORE_COLOURS[index % len(MORE_COLOURS)] for index, name in enumerate(peers)
    }


def legend(targets: list[str], colours: dict[str, str]) -> list[str]:
    parts, x = [], LEFT
    for name in targets:
        parts.append(rect(x, TITLE + 6, 12, 12, colours[name]))
        parts.append(text(x + 18, TITLE + 16, name))
        x += 18 + 8 * len(name) + 22
    return parts


def panel(
    results: Results, upstream: str, targets: list[str], colours: dict[str, str], top: float
) -> list[str]:
    """One kind of upstream."""
    workloads = results.order("load", "workload", upstream=upstream)
    groups = [
        (
            WORKLOADS[name].label,
            [median(ratios(results, upstream, name, target, "cpu")) for target in targets],
        )
        for name in workloads
    ]
    if len(groups) > 1:
        means = [geometric_mean(bars[index] for _, bars in groups) for index in range(len(targets))]
        groups.append(("geometric mean", means))
    known = [bar for _, bars in groups for bar in bars if not math.isnan(bar)]
    ceiling = scale(max(known, default=1.0))
    floor = top + PANEL_HEAD + PANEL

    def y(value: float) -> float:
        return floor - value / ceiling * PANEL

    parts = [text(LEFT, top + 16, UPSTREAM_TITLES[upstream], "panel")]
    for tick in range(TICKS + 1):
        value = ceiling * tick / TICKS
        parts.append(line(y(value), "grid"))
        parts.append(text(LEFT - 8, y(value) + 4, f"{value:.1f}", "soft", "end"))
    figures = []
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    bar_width = (slot - GROUP_GAP) / len(targets)
    for place, (label, bars) in enumerate(groups):
        left = LEFT + place * slot + GROUP_GAP / 2
        for index, (name, value) in enumerate(zip(targets, bars, strict=True)):
            if math.isnan(value):
                continue
            x = left + index * bar_width
            tip = f"{name}, {label}: {value:.2f}"
            parts.append(rect(x + 1, y(value), bar_width - 2, floor - y(value), colours[name], tip))
            if name != BASE:  # the line says what it is
                figures.append(figure(x + bar_width / 2, y(value) - 3, value, bar_width))
        parts.append(text(left + (slot - GROUP_GAP) / 2, floor + 17, label, "soft", "middle"))
    # The figures last: nothing runs through them.
    return [*parts, line(y(1), "base"), *figures]


def scale(highest: float) -> float:
    """The top of an axis that ends in a round number above the highest bar and its label."""
    wanted = max(1.0, highest) * 1.08
    for step in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2, 5, 10):
        if step * TICKS >= wanted:
            return step * TICKS
    return math.ceil(wanted)


def rect(x: float, y: float, width: float, height: float, fill: str, tip: str = "") -> str:
    inside = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" '
        f'fill="{fill}">{inside}</rect>'
    )


def text(
    x: float, y: float, words: str, kind: str = "", anchor: str = "start", more: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"{more}>'
        f"{escape(words)}</text>"
    )


def figure(x: float, y: float, value: float, room: float) -> str:
    """A bar's value above it, as small as it has to be not to meet its neighbour's."""
    size = min(10.0, room * 0.44)
    return text(x, y, f"{value:.2f}", "value", "middle", f' style="font-size: {size:.1f}px"')


def line(y: float, kind: str) -> str:
    return f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="{kind}"/>'
