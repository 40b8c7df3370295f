"""The report and its picture, from made-up results."""

import unittest
import xml.etree.ElementTree as ElementTree

from rig import plot, report
from rig.load import WORKLOADS
from rig.origin import CONF, UPSTREAMS, fill
from rig.results import Results

SVG = "{http://www.w3.org/2000/svg}"


def results(ratio: float = 0.75, upstreams: tuple[str, ...] = UPSTREAMS) -> Results:
    """Rounds in which the gateway costs `ratio` of nginx."""
    made = Results()
    identity = {"version": "1.0", "sha256": "0" * 12}
    made.begin(
        command="bench/run.py",
        machine="a machine",
        targets={"nginx": identity, "gateway": identity},
        tools={"wrk": "4.1.0"},
        rounds=2,
        seconds=1.0,
    )
    for upstream in upstreams:
        for workload in WORKLOADS:
            for number in range(2):
                for target, cpu in (("nginx", 10.0), ("gateway", 10.0 * ratio)):
                    values = dict.fromkeys(("rate", "user", "busy", "p50", "p99"), 1.0)
                    where = {"upstream": upstream, "workload": workload, "round": number}
                    made.add("load", target, values | {"cpu": cpu}, **where)
    return made


class Report(unittest.TestCase):
    def test_a_goal_is_met_or_missed(self):
        text = report.goals(results(0.75))
        self.assertIn("HTTPS upstream (HTTP/1.1): all, geometric mean | ≤ 0.80 | 0.75 ✓ |", text)
        self.assertIn("offers HTTP/2: 1 KiB GET @64 | ≤ 0.70 | 0.75 ✗ |", text)

    def test_a_mean_over_workloads_that_were_not_all_run_is_not_made(self):
        some = results(upstreams=("http",))
        some.samples = [one for one in some.samples if one["workload"] != "get1m@16"]
        self.assertIn("≤ 1.00 | – |", report.goals(some))

    def test_every_row_has_as_many_cells_as_its_head(self):
        head = 0
        for line in report.write(results(), "report.svg").splitlines():
            if line.startswith("|"):
                head = head or line.count("|")
                self.assertEqual(line.count("|"), head, line)
            else:
                head = 0

    def test_nothing_measured_makes_a_report_without_tables(self):
        self.assertNotIn("\n|", report.write(Results(), "report.svg"))


class Picture(unittest.TestCase):
    def bars(self, text: str) -> list[ElementTree.Element]:
        # A bar says what it is; the paper and the legend do not.
        root = ElementTree.fromstring(text)
        return [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]

    def test_it_is_well_formed_with_a_bar_for_every_target_and_workload(self):
        bars = self.bars(plot.draw(results()))
        self.assertEqual(len(bars), len(UPSTREAMS) * (len(WORKLOADS) + 1) * 2)

    def test_heights_are_as_the_ratios(self):
        nginx, gateway, *_ = self.bars(plot.draw(results(0.5)))
        share = float(gateway.get("height")) / float(nginx.get("height"))
        self.assertAlmostEqual(share, 0.5, places=2)

    def test_bars_stay_within_the_picture_however_high(self):
        for ratio in (0.01, 3.4, 60.0):
            for bar in self.bars(plot.draw(results(ratio))):
                self.assertGreaterEqual(float(bar.get("y")), plot.TITLE + plot.LEGEND, ratio)

    def test_names_of_peers_are_escaped_and_have_colours_of_their_own(self):
        made = results()
        for one in made.samples:
            if one["target"] == "gateway":
                one["target"] = "<a&b>"
        self.assertEqual(len(self.bars(plot.draw(made))), len(UPSTREAMS) * (len(WORKLOADS) + 1) * 2)

    def test_nothing_measured_is_said_so(self):
        ElementTree.fromstring(plot.draw(Results()))


class Templates(unittest.TestCase):
    def test_lines_for_other_kinds_of_upstream_are_left_out(self):
        values = dict.fromkeys(("PORT", "ORIGIN_PORT", "TOKEN", "CA", "WORKERS"), "x")
        for upstream, line in (("http", None), ("https", "alpn http/1.1"), ("h2", "alpn h2")):
            text = fill("haproxy.cfg", upstream, **values)
            self.assertEqual(text.count("server origin"), 1)
            self.assertEqual("ssl verify required" in text, line is not None)
            self.assertIn(line or "server origin", text)

    def test_every_template_is_of_a_target_or_the_origin(self):
        names = {path.name for path in CONF.iterdir()}
        used = {"origin.conf", "nginx.conf", "haproxy.cfg", "envoy.yaml", "gateway.toml", "wrk.lua"}
        self.assertEqual(names, used)


if __name__ == "__main__":
    unittest.main()
