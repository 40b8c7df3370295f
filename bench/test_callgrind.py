"""What callgrind writes, read back."""

import unittest

from rig.callgrind import instructions, readable, self_costs

# Cut down from a real dump: names given once, lines relative to the one before, calls whose cost
# belongs to the function that was called.
DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 4711
cmd:  genesys-proxy serve
part: 2

desc: I1 cache:
desc: Trigger: --dump-before=
positions: line
events: Ir
summary: 1250

ob=(3) /usr/bin/genesys-proxy
fl=(1) src/main.rs
fn=(1) genesys_proxy::serve
16 400
+3 100
fi=(2) src/lib.rs
* 50
cfn=(2) core::fmt::write
calls=2 12
20 500

fn=(2)
12 300
-4 200
cfi=(1)
cfn=(3) memcpy
calls=1 0
* 200

fn=(3)
0 200

totals: 1250
"""


class Callgrind(unittest.TestCase):
    def test_the_total_is_what_the_dump_says(self):
        self.assertEqual(instructions(DUMP), 1250)
        self.assertEqual(instructions("nothing"), 0)

    def test_a_function_is_charged_for_its_own_lines_only(self):
        costs = self_costs(DUMP)
        self.assertEqual(
            dict(costs), {"genesys_proxy::serve": 550, "core::fmt::write": 500, "memcpy": 200}
        )
        self.assertEqual(costs.total(), instructions(DUMP))

    def test_a_dump_with_addresses_has_its_costs_one_column_later(self):
        text = "positions: instr line\nfn=(1) main\n0x400 16 7\n+4 * 5\n"
        self.assertEqual(dict(self_costs(text)), {"main": 12})

    def test_names_lose_hashes_and_paths_but_not_their_meaning(self):
        name = "http::header::map::HeaderMap<T>::get_all::h0123456789abcdef"
        self.assertEqual(readable(name), "HeaderMap<T>::get_all")
        self.assertEqual(readable("core::fmt::write'2"), "core::fmt::write")
        self.assertEqual(len(readable("x" * 300)), 90)


if __name__ == "__main__":
    unittest.main()
