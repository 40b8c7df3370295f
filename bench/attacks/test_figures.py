"""What is calculated from the calls of polite callers, and told of it."""

import math
import unittest

from attacks import figures, report


def part(p50: float, p99: float, **more) -> dict:
    return {"p50": p50, "p99": p99, "calls": 100, "failed": 0, "cpu": 0.05, "attacker": 0.0,
            "length": 2.0, "others": 0.0, **more}


class Felt(unittest.TestCase):
    CALLS = [("kept", 1.0, 0.1), ("new", 2.0, 0.3), ("kept", 2.5, None), ("kept", 3.0, 0.9)]

    def test_calls_count_by_when_they_were_due(self):
        felt = figures.felt(self.CALLS, 1, 3)
        self.assertEqual((felt["calls"], felt["failed"], felt["p99"]), (3, 1, 0.3))

    def test_one_kind_can_be_looked_at_alone(self):
        felt = figures.felt(self.CALLS, 0, 9, "new")
        self.assertEqual((felt["calls"], felt["p50"]), (1, 0.3))

    def test_where_nothing_was_served_there_is_no_latency(self):
        self.assertTrue(math.isnan(figures.felt(self.CALLS, 2.4, 2.9)["p99"]))

    def test_a_percentile_is_a_value_that_was_there(self):
        self.assertEqual(figures.percentile(range(1, 101), 0.99), 99)
        self.assertEqual(figures.percentile([3, 1, 2], 0.5), 2)


class Rounds(unittest.TestCase):
    def test_an_attack_is_compared_with_what_was_before_and_after(self):
        self.assertEqual(figures.ratio(1, 4, 4), 2)
        self.assertEqual(figures.noise(1, 4), 4)
        self.assertEqual(figures.noise(4, 1), 4)

    def test_cpu_time_is_per_polite_call_whoever_used_it(self):
        found = figures.round_of(part(1, 2), part(2, 6, cpu=0.5, attacker=1.0), part(1, 2))
        self.assertEqual((found["p50"], found["p99"]), (2, 3))
        self.assertAlmostEqual(found["quiet_cpu"], 500)
        self.assertAlmostEqual(found["attack_cpu"], 5000)
        self.assertEqual((found["gateway"], found["attacker"]), (0.25, 0.5))

    def test_the_middle_is_the_median_of_those_that_have_it(self):
        rounds = [{"p99": 1.0}, {"p99": 9.0}, {"p99": 2.0}, {"p99": math.nan}]
        self.assertEqual(figures.middle(rounds, "p99"), 2)
        self.assertTrue(math.isnan(figures.middle([], "p99")))


def cell(p99: float = 1.0, peak: int = 20_000, others: float = 0.0, failed: int = 0) -> dict:
    quiet = part(0.001, 0.002, others=others)
    under = part(0.001, 0.002 * p99, others=others, failed=failed)
    return {"title": "some attack", "flood": True, "share": 0.5, "bound_kib": 10_000,
            "idle_kib": 15_000, "peak_kib": peak, "rounds": [figures.round_of(quiet, under, quiet)]}


class Told(unittest.TestCase):
    RESULTS = {"about": "here", "command": "run.py", "note": "", "rate": 300, "seconds": 6}

    def write(self, *cells: dict) -> str:
        return report.write({**self.RESULTS, "cells": list(cells)})

    def test_latency_and_memory_and_every_call_have_to_hold(self):
        self.assertTrue(report.holds(cell()))
        self.assertFalse(report.holds(cell(p99=2.1)))
        self.assertFalse(report.holds(cell(peak=25_001)))
        self.assertFalse(report.holds(cell(failed=1)))

    def test_where_nothing_was_measured_nothing_holds(self):
        self.assertFalse(report.holds(cell(p99=math.nan)))

    def test_what_does_not_hold_is_named(self):
        self.assertIn("All are within their bounds.", self.write(cell()))
        self.assertIn("(✗): some attack, 0.5 CPU", self.write(cell(), cell(p99=3)))

    def test_a_busy_machine_is_told_of(self):
        self.assertIn("busy machine", self.write(cell(others=1.0)))
        self.assertNotIn("busy machine", self.write(cell()))


if __name__ == "__main__":
    unittest.main()
