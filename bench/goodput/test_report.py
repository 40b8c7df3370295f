"""The report and its picture say what the runs say."""

import unittest
import xml.etree.ElementTree as ElementTree

from goodput import plot, report


def run(policy: str, mix: str = "equal", load: float = 1, seed: int = 1, **figures) -> dict:
    known = {
        "manner": "obeys",
        "used": 0.985,
        "offered": load,
        "upstream_429": 0,
        "caller_429_per_minute": 0,
        "jain": 0.999,
        "wait_p50": 0.5,
        "wait_p99": 9.0,
        "watched": 100,
        "watched_without_429": 90,
        "asked": 100,
        "asked_served": 100,
        "promises_claimed": 10,
        "promises_kept": 10,
        "failures": {},
    }
    return {"policy": policy, "mix": mix, "load": load, "seed": seed, **known, **figures}


def simulated(*runs: dict) -> dict[str, dict]:
    part = {"minutes": 20, "seeds": 2, "runs": list(runs)}
    return {"simulated": report.with_rates(part, {"": 20})}


class Report(unittest.TestCase):
    def test_a_goal_is_judged_by_its_worst_run(self):
        text = report.write(
            simulated(run("gateway"), run("gateway", used=0.97, seed=2), run("none", used=1)), "a.svg"
        )
        goals = text[text.index("## Goals") : text.index("![")]
        rows = [row for row in goals.splitlines() if row.startswith("| used ≥ 98 % at 1x")]
        self.assertEqual(len(rows), 1, "what it is compared with has no goals")
        self.assertIn("| 97.00 | 97.75 | **no** |", rows[0])

    def test_a_429_of_upstream_is_none_too_many(self):
        runs = [run("gateway", "bursty"), run("gateway", "bursty", seed=2, upstream_429=1)]
        text = report.write(simulated(*runs), "a.svg")
        row = next(row for row in text.splitlines() if row.startswith("| no 429 of upstream"))
        self.assertIn("**no**", row)
        outside = report.write(simulated(run("gateway", "outsider", upstream_429=9)), "a.svg")
        self.assertNotIn("| no 429 of upstream", outside)

    def test_the_fairness_of_unequal_callers_is_not_told(self):
        text = report.write(simulated(run("gateway", "greedy", jain=0.5)), "a.svg")
        self.assertNotIn("0.500", text)

    def test_calls_that_failed_are_told(self):
        live = {
            "scale": {"limit": 300, "window": 12.0, "warm_up": 2, "measured": 5,
                      "measured_outsider": 10, "max_wait": 2.4},
            "runs": [run("gateway", failures={"502": 3}), run("gateway", seed=2)],
        }
        parts = {"live": report.with_rates(live, {"": 5})}
        self.assertIn("neither 200 nor 429: 3 × 502", report.write(parts, "a.svg"))


class Picture(unittest.TestCase):
    def test_it_is_drawn_also_where_a_figure_is_missing(self):
        runs = simulated(
            run("gateway"),
            run("none", wait_p99=None, promises_claimed=0, promises_kept=0),
            run("gateway", "greedy", load=10, wait_p99=212.0),
        )["simulated"]["runs"]
        picture = plot.draw(runs)
        ElementTree.fromstring(picture)
        self.assertIn("gateway, burst, 10x: 212", picture)
        self.assertNotIn("nan", picture)

    def test_an_axis_ends_above_its_highest_bar(self):
        self.assertEqual([plot.scale(value) for value in (0.2, 4.4, 9.5, 70, 2900)],
                         [1, 5, 20, 100, 5000])
