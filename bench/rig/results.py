"""What was measured, as a flat list that can be saved, read again and put together.

A sample says which run it is of, what was measured on which target, and in which round: ratios
are taken within a round of a run, so samples of several runs can lie in one list.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

Sample = dict


@dataclass
class Results:
    """All runs, and the samples of all of them."""

    runs: list[dict] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def begin(self, **about: object) -> str:
        """A new run; its name."""
        run = f"{time.time_ns():x}"
        date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        self.runs.append({"run": run, "date": date, **about})
        return run

    def add(self, kind: str, target: str, values: dict, **where: object):
        """One sample of the run that began last."""
        run = self.runs[-1]["run"]
        self.samples.append({"run": run, "kind": kind, "target": target, **where, **values})

    def of(self, kind: str, **where: object) -> list[Sample]:
        """The samples of a kind, at a place."""
        wanted = {"kind": kind, **where}.items()
        return [
            sample
            for sample in self.samples
            if all(sample.get(name) == value for name, value in wanted)
        ]

    def order(self, kind: str, name: str, **where: object) -> list:
        """The different values of a field, in the order in which they were met."""
        return list(dict.fromkeys(sample[name] for sample in self.of(kind, **where)))

    def save(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"runs": self.runs, "samples": self.samples}) + "\n")

    def merge(self, other: "Results"):
        """Takes in what others measured. The same name for two builds would be a lie."""
        known = {run["run"] for run in self.runs}
        builds = {name: is_ for run in self.runs for name, is_ in run["targets"].items()}
        for run in other.runs:
            if run["run"] in known:
                continue
            for name, build in run["targets"].items():
                if builds.setdefault(name, build) != build:
                    raise SystemExit(
                        f"bench: {name} is one build in one of the files and another in the next: "
                        f"{builds[name]}, {build}"
                    )
            self.runs.append(run)
            self.samples += [one for one in other.samples if one["run"] == run["run"]]


def load(path: Path) -> Results:
    content = json.loads(path.read_text())
    return Results(content["runs"], content["samples"])
