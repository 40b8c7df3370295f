"""Who calls, and how a server's answer is read."""

import itertools
import random
import unittest

from goodput import callers, live, wire

LIMIT, WINDOW = 300, 12.0


def calls(habit: callers.Habit, until: float) -> int:
    """How many come by then."""
    now = total = 0
    for pause, count in habit:
        now += pause
        if now >= until:
            return total
        total += count
    raise AssertionError("a habit never ends")


class Mixes(unittest.TestCase):
    def test_a_mix_offers_what_it_is_to_offer(self):
        for mix, load in itertools.product(callers.MIXES, (0.5, 2.0)):
            party = callers.party(mix, load, LIMIT, WINDOW, random.Random(1))
            windows = 100
            each = [calls(habit, windows * WINDOW) for habit in party.habits]
            wanted = LIMIT * load * windows
            if mix == "greedy":
                self.assertAlmostEqual(each[1], callers.POLITE * windows, delta=windows * 0.5)
                wanted = wanted * 0.9 + callers.POLITE * windows
            self.assertAlmostEqual(sum(each), wanted, delta=wanted * 0.03, msg=mix)

    def test_bursts_come_at_once_and_lose_no_part_of_a_call(self):
        habit = callers.at_once(18.75, WINDOW, random.Random(1))
        first, *more = itertools.islice(habit, 4)
        self.assertTrue(0 <= first[0] < WINDOW)
        self.assertEqual([count for _, count in (first, *more)], [18, 19, 19, 19])
        self.assertEqual({pause for pause, _ in more}, {WINDOW})

    def test_the_same_seed_calls_at_the_same_times(self):
        habits = [callers.at_random(10, WINDOW, random.Random(7)) for _ in range(2)]
        first, second = (list(itertools.islice(habit, 20)) for habit in habits)
        self.assertEqual(first, second)


class Configured(unittest.TestCase):
    def test_the_gateway_knows_each_caller_by_its_key(self):
        text = live.configuration("http://127.0.0.1:1", live.Scale(), "even", 3)
        self.assertEqual(text.count("[[caller]]"), 3)
        self.assertIn('window = "12000ms"\nmax_wait = "2400ms"\npacing = "even"', text)
        self.assertNotIn(live.key(0), text, "only its hash")

    def test_times_follow_the_window(self):
        scale = live.Scale(window=10, warm_up=2, measured=5, measured_outsider=8)
        self.assertEqual(scale.times("equal"), (20, 70, 80))
        self.assertEqual(scale.times("outsider"), (20, 100, 110))


class Answers(unittest.TestCase):
    def test_status_and_fields_are_read(self):
        answer = wire.parse(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 4\r\nA:b:c\r\n\r\n")
        self.assertEqual(answer.status, 429)
        self.assertEqual(answer.headers, {"retry-after": "4", "a": "b:c"})
