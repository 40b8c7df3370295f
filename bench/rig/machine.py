"""The machine: which CPUs are whose, how many files may be open, what the report says about it."""

import os
import platform
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cpus:
    """Who runs where."""

    target: frozenset[int]
    load: frozenset[int]
    workers: int


def pinned() -> Cpus:
    """The target alone on the last CPU, everything else on the others."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("bench: one CPU is too few: the target needs one for itself")
    return Cpus(frozenset(cpus[-1:]), frozenset(cpus[:-1]), 1)


def unpinned() -> Cpus:
    """Nobody has a CPU for itself; the target has two workers."""
    cpus = frozenset(os.sched_getaffinity(0))
    return Cpus(cpus, cpus, 2)


def allow_many_files(wanted: int = 65_536) -> int:
    """Raises the limit on open files as far as it goes; what was reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, soft), max(wanted, hard)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def describe() -> str:
    """CPU, memory, system; never a name that tells whose machine it is."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    cpus = len(os.sched_getaffinity(0))
    guest = " (virtual)" if " hypervisor" in cpuinfo("flags") else ""
    return (
        f"{cpus} CPUs, {cpuinfo('model name')}{guest}; {memory:.0f} GiB; "
        f"{release}, Linux {platform.release()}"
    )


def cpuinfo(key: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return platform.machine()


def busy() -> float:
    """Seconds that all CPUs together have worked since the machine was started; for others, too."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
