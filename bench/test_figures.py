"""The arithmetic of the report."""

import math
import unittest

from rig.figures import geometric_mean, half_range, median, paired
from rig.results import Results


def sample(run: str, number: int, cpu: float) -> dict:
    return {"run": run, "round": number, "cpu": cpu}


class Figures(unittest.TestCase):
    def test_the_median_of_nothing_is_no_number(self):
        self.assertEqual(median([3, 1, 2]), 2)
        self.assertEqual(median([4, 1, 2, 3]), 2.5)
        self.assertTrue(math.isnan(median([])))

    def test_twice_and_half_as_much_cancel_out(self):
        self.assertAlmostEqual(geometric_mean([2, 0.5]), 1)
        self.assertAlmostEqual(geometric_mean([1, 10, 100]), 10)

    def test_a_missing_ratio_makes_no_mean(self):
        for ratios in ([], [1, math.nan], [1, 0]):
            self.assertTrue(math.isnan(geometric_mean(ratios)), ratios)

    def test_ratios_are_taken_within_a_round_of_a_run(self):
        # The second round was twice as slow for everybody.
        ours = [sample("a", 0, 8), sample("a", 1, 16), sample("b", 0, 30)]
        base = [sample("a", 1, 20), sample("a", 0, 10), sample("b", 0, 60)]
        self.assertEqual(paired(ours, base, "cpu"), [0.8, 0.8, 0.5])

    def test_a_round_without_its_base_has_no_ratio(self):
        self.assertEqual(paired([sample("a", 0, 8)], [sample("b", 0, 10)], "cpu"), [])

    def test_the_spread_is_half_the_range_over_the_median(self):
        self.assertAlmostEqual(half_range([9, 10, 12]), 0.15)
        self.assertTrue(math.isnan(half_range([])))


class Merging(unittest.TestCase):
    def run_of(self, build: str, target: str = "gateway") -> Results:
        results = Results()
        results.begin(targets={target: {"sha256": build}})
        results.add("load", target, {"cpu": 1.0}, round=0)
        return results

    def test_runs_are_put_together_once(self):
        both, other = self.run_of("one"), self.run_of("two", "nginx")
        both.merge(other)
        both.merge(other)
        self.assertEqual(len(both.runs), 2)
        self.assertEqual(both.order("load", "target"), ["gateway", "nginx"])
        self.assertEqual(len(both.of("load", target="nginx", round=0)), 1)

    def test_two_builds_do_not_pass_under_one_name(self):
        with self.assertRaisesRegex(SystemExit, "gateway is one build"):
            self.run_of("one").merge(self.run_of("two"))


if __name__ == "__main__":
    unittest.main()
