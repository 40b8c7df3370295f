"""What is calculated from the calls of a run."""

import math
import unittest

from goodput import figures
from goodput.figures import Call, Promise


def told(at: float, came: float | None = None, served: float | None = None) -> Promise:
    return Promise(at, came, served)


class Shares(unittest.TestCase):
    def test_equal_shares_are_one_and_all_for_one_is_a_share(self):
        self.assertEqual(figures.jain([5, 5, 5, 5]), 1)
        self.assertEqual(figures.jain([20, 0, 0, 0]), 0.25)
        self.assertAlmostEqual(figures.jain([2, 1]), 0.9)
        self.assertEqual(figures.jain([0, 0]), 1, "nobody had less than another")

    def test_a_percentile_is_a_value_that_was_there(self):
        self.assertEqual(figures.percentile([3, 1, 2], 0.5), 2)
        self.assertEqual(figures.percentile(range(1, 101), 0.99), 99)
        self.assertEqual(figures.percentile([7], 0.99), 7)
        self.assertIsNone(figures.percentile([], 0.5))


class Used(unittest.TestCase):
    def test_a_limit_used_evenly_is_used_wholly(self):
        evenly = [number / 10 for number in range(1000)]
        self.assertAlmostEqual(figures.used(evenly, 100, (20, 70), 10), 1, places=2)

    def test_where_bursts_lie_does_not_matter(self):
        for phase in range(10):
            bursts = [phase + 10 * number for number in range(12) for _ in range(100)]
            self.assertAlmostEqual(figures.used(bursts, 100, (20, 70), 10), 1)

    def test_calls_outside_of_the_measured_time_are_not_use(self):
        self.assertEqual(figures.used([0, 19.9, 70, 99], 100, (20, 70), 10), 0)


class Promises(unittest.TestCase):
    def test_a_promise_is_claimed_within_a_second_of_the_time_that_was_told(self):
        for came, claimed in ((10, True), (11, True), (11.1, False), (9.9, False), (None, False)):
            self.assertEqual(told(10, came).claimed(), claimed, came)

    def test_a_promise_is_kept_when_the_call_is_served_within_its_patience(self):
        for served, kept in ((10.1, True), (22, True), (23, False), (None, False)):
            self.assertEqual(told(10, 10, served).kept(12), kept, served)
        self.assertFalse(told(10, 12, 12.1).kept(12), "nobody was there at the time")


class Measured(unittest.TestCase):
    def measure(self, calls: list[Call], refusals=()) -> figures.Run:
        return figures.measure(calls, 2, {1}, refusals, (10, 70), 12, 12)

    def test_waits_are_those_of_the_watched_caller_from_its_first_arrival(self):
        calls = [
            Call(0, first=20, served=60),
            Call(1, first=20, served=21),
            Call(1, first=20, served=50, refusals=1),
            Call(1, first=20),
            Call(1, first=9, served=69),
            Call(1, first=70, served=99),
        ]
        run = self.measure(calls)
        self.assertEqual((run["wait_p50"], run["wait_p99"]), (1, 30))
        self.assertEqual((run["watched"], run["watched_served"]), (3, 2))
        self.assertEqual(run["watched_without_429"], 1)
        self.assertEqual((run["asked"], run["asked_served"]), (4, 3))

    def test_what_callers_got_is_counted_when_they_got_it(self):
        calls = [Call(0, 5, served=10), Call(0, 5, served=9), Call(1, 60, served=69)]
        self.assertEqual(self.measure(calls)["jain"], 1)
        calls.append(Call(1, 60, served=70))
        self.assertEqual(self.measure(calls)["jain"], 1)

    def test_refusals_are_counted_per_window(self):
        run = self.measure([], refusals=[9, 10, 20, 30, 40, 69, 70])
        self.assertEqual(run["caller_429_per_minute"], 1)

    def test_promises_count_when_they_fall_due(self):
        promises = [told(9, 9, 9), told(10, 10, 11), told(20, 20), told(30), told(70, 70, 70)]
        run = self.measure([Call(0, 5, promises=promises)])
        names = ("promises", "promises_claimed", "promises_kept")
        self.assertEqual([run[name] for name in names], [3, 2, 1])


class SeveralRuns(unittest.TestCase):
    RUNS = [
        {"load": 1, "used": 0.9, "promises_kept": 1, "promises_claimed": 2},
        {"load": 1, "used": 1.0, "promises_kept": 0, "promises_claimed": 0},
        {"load": 2, "used": None, "promises_kept": 3, "promises_claimed": 3},
    ]

    def test_a_run_without_a_figure_does_not_count(self):
        self.assertEqual(figures.values(self.RUNS, "used"), [0.9, 1.0])
        self.assertEqual(figures.values(self.RUNS, "kept"), [0.5, 1])
        self.assertTrue(math.isnan(figures.median([], "used")))
        self.assertEqual(figures.lowest(self.RUNS, "used"), 0.9)
        self.assertEqual(figures.highest(self.RUNS, "kept"), 1)

    def test_runs_are_picked_by_what_they_are(self):
        self.assertEqual(len(figures.pick(self.RUNS, load=1)), 2)
        self.assertEqual(len(figures.pick(self.RUNS, load=(1, 2))), 3)
        self.assertEqual(figures.order(self.RUNS, "load"), [1, 2])
