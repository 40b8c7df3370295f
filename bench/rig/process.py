"""Processes that end when we do, and what they cost. Only what was started here is ever ended."""

import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class CpuTime:
    """Seconds."""

    user: float
    system: float

    def __sub__(self, other: "CpuTime") -> "CpuTime":
        return CpuTime(self.user - other.user, self.system - other.system)

    @property
    def total(self) -> float:
        return self.user + self.system


class Process:
    """A command and everything that it starts."""

    def __init__(
        self,
        command: list[str],
        cpus: Iterable[int],
        *,
        log: Path | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        capture: bool = False,
    ):
        cpus = set(cpus)

        def prepare():
            # Even if we are killed, it is told to end.
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            os.sched_setaffinity(0, cpus)

        self.command = command
        self.log = log
        with open(log or os.devnull, "ab") as output:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if capture else output,
                stderr=output,
                cwd=cwd,
                env={**clean_environment(), **(env or {})},
                preexec_fn=prepare,
                start_new_session=True,  # Ctrl-C is ours to handle
            )

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def output(self, seconds: float) -> str:
        """All that it prints, when it has ended."""
        try:
            return self.popen.communicate(timeout=seconds)[0].decode()
        finally:
            self.stop()

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log else ""
        return "\n".join(text.splitlines()[-8:])

    def tree(self) -> list[int]:
        """Its process id and those of all below it."""
        children: dict[int, list[int]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (fields := stat(int(entry))):
                children.setdefault(int(fields[1]), []).append(int(entry))
        found = [self.popen.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu(self) -> CpuTime:
        """Of the whole tree, threads and children that have ended included. The sum is the
        scheduler's to a tick (10 ms); which part is user time, the kernel only samples."""
        user = system = 0
        for pid in self.tree():
            if fields := stat(pid):
                user += int(fields[11]) + int(fields[13])
                system += int(fields[12]) + int(fields[14])
        return CpuTime(user / TICKS, system / TICKS)

    def memory(self) -> int:
        """KiB of the whole tree; pages that several share count once (PSS)."""
        return sum(kib(pid, "smaps_rollup", "Pss") for pid in self.tree())

    def peak_memory(self) -> int:
        """KiB at the highest since the last `forget_peak`; shared pages count for each (RSS)."""
        return sum(kib(pid, "status", "VmHWM") for pid in self.tree())

    def forget_peak(self):
        for pid in self.tree():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def stop(self, patience: float = 10):
        """SIGTERM; SIGKILL for what has not ended by then, or was left behind."""
        if not self.running:
            return
        pids = self.tree()
        self.popen.terminate()
        try:
            self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for pid in pids:
            # The session is ours alone: a number that was given away meanwhile is not in it.
            if (fields := stat(pid)) and int(fields[3]) == self.popen.pid:
                os.kill(pid, signal.SIGKILL)


def clean_environment() -> dict[str, str]:
    """Ours without what would reconfigure a gateway or send loopback traffic elsewhere."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GENESYS_") and not name.lower().endswith("_proxy")
    }


def stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on; `None` when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def kib(pid: int, file: str, field: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except PermissionError:
        # The gateway's, to any user but root: nothing is not what it needs.
        raise
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", text, re.M)
    return int(found[1]) if found else 0
