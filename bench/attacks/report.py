"""The report: one line an attack, and what does not hold."""

from .figures import middle

# A p99 of others may become so many times what it is without the attack.
BOUND = 2.0
# Of the CPUs, that programs of others had: more, and the figures are not to be judged by.
QUIET = 0.2

HEAD = """\
| attack | attacker | gateway | p50 ms | p99 ms | p50 | p99 (rounds) | noise | failed | µs/call | memory | bound | others |
|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|
"""

LEGEND = """\
- **attacker**, **gateway**: CPUs that each used during the attack; a flood was let have one, and a
  half.
- **p50 ms**, **p99 ms**: of the polite callers, without the attack and under it, from when a call was
  due. **p50**, **p99**: the ratio to the quiet seconds just before and after, the median of the rounds;
  the rounds' own in brackets. At most 2 is promised for p99.
- **noise**: how far the p99s of the two quiet parts around an attack are apart, as a factor. A ratio
  below it says nothing.
- **failed**: polite calls under attack without a 200.
- **µs/call**: CPU time of the gateway over polite calls, without the attack and under it.
- **memory**: RSS of the gateway at its highest, above what it was before; **bound**: what
  [operations.md](../../docs/operations.md#memory) allows, MiB.
- **others**: CPUs that programs had which have nothing to do with it.
"""


def holds(cell: dict) -> bool:
    within = middle(cell["rounds"], "p99") <= BOUND and cost(cell) <= cell["bound_kib"]
    return within and not failed(cell)


def cost(cell: dict) -> int:
    return max(cell["peak_kib"] - cell["idle_kib"], 0)


def failed(cell: dict) -> int:
    return sum(each["failed"] for each in cell["rounds"])


def pair(cell: dict, quiet: str, attack: str, scale: float, digits: int) -> str:
    rounds = cell["rounds"]
    return (f"{middle(rounds, quiet) * scale:.{digits}f} → "
            f"{middle(rounds, attack) * scale:.{digits}f}")


def name(cell: dict) -> str:
    return cell["title"] + (f", {cell['share']:g} CPU" if cell["flood"] else "")


def row(cell: dict) -> str:
    rounds = cell["rounds"]
    each = " ".join(f"{one['p99']:.1f}" for one in rounds)
    mark = "" if holds(cell) else " **✗**"
    columns = [
        name(cell) + mark,
        f"{middle(rounds, 'attacker'):.2f}",
        f"{middle(rounds, 'gateway'):.2f}",
        pair(cell, "quiet_p50", "attack_p50", 1e3, 1),
        pair(cell, "quiet_p99", "attack_p99", 1e3, 1),
        f"{middle(rounds, 'p50'):.2f}",
        f"{middle(rounds, 'p99'):.2f} ({each})",
        f"{middle(rounds, 'noise'):.2f}",
        f"{failed(cell)} of {sum(one['calls'] for one in rounds)}",
        pair(cell, "quiet_cpu", "attack_cpu", 1, 0),
        f"{cost(cell) / 1024:.1f}",
        f"{cell['bound_kib'] / 1024:.0f}",
        f"{middle(rounds, 'others'):.2f}",
    ]
    return f"| {' | '.join(columns)} |"


def line(cell: dict) -> str:
    """On the way."""
    rounds = cell["rounds"]
    return (f"{name(cell)}: p99 {middle(rounds, 'p99'):.2f}x (noise {middle(rounds, 'noise'):.2f}x), "
            f"{cost(cell) / 1024:.1f} MiB of {cell['bound_kib'] / 1024:.0f}, {failed(cell)} failed, "
            f"attacker {middle(rounds, 'attacker'):.2f}, gateway {middle(rounds, 'gateway'):.2f}, "
            f"others {middle(rounds, 'others'):.2f}")


def busy(cells: list[dict]) -> bool:
    found = [each[part] for cell in cells for each in cell["rounds"]
             for part in ("others", "quiet_others")]
    return sum(found) / len(found) > QUIET if found else False


def write(results: dict) -> str:
    cells = results["cells"]
    parts = [
        "# Attacks, and who else calls\n",
        f"{results['about']}; {results['rate']:g} polite calls a second, a third of them each over "
        f"kept HTTP/1.1 connections, over HTTP/2, and over new connections; parts of "
        f"{results['seconds']:g} s.\n",
        f"`{results['command']}`\n",
    ]
    if busy(cells):
        parts.append("**Measured on a busy machine**: programs of others had CPUs, see the last "
                     "column. Ratios near the bound prove nothing either way.\n")
    if results["note"]:
        parts.append(results["note"] + "\n")
    parts.append(HEAD + "\n".join(map(row, cells)) + "\n")
    parts.append(LEGEND)
    broken = [name(cell) for cell in cells if not holds(cell)]
    parts.append("Beyond a bound (✗): " + "; ".join(broken) + ".\n" if broken
                 else "All are within their bounds.\n")
    return "\n".join(parts)
