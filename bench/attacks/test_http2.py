"""Frames and fields as the wire has them."""

import unittest

from attacks import http2


class Frames(unittest.TestCase):
    def test_a_frame_has_its_length_kind_flags_and_stream(self):
        self.assertEqual(http2.frame(http2.PING, 0, 0, bytes(8)), bytes.fromhex("000008 06 00 00000000") + bytes(8))
        self.assertEqual(http2.frame(http2.RST_STREAM, 0, 3, b"\0\0\0\x08").hex(), "00000403000000000300000008")

    def test_fields_are_literals(self):
        self.assertEqual(http2.literals([("a", "bc")]), b"\0\1a\2bc")

    def test_integers_are_those_of_the_standard(self):
        # RFC 7541 appendix C.1.
        self.assertEqual(http2.integer(10, 5), b"\x0a")
        self.assertEqual(http2.integer(1337, 5), bytes([31, 154, 10]))
        self.assertEqual(http2.integer(127, 7), bytes([127, 0]))

    def test_the_connections_window_is_opened_as_far_as_it_goes(self):
        self.assertEqual(http2.wide_open()[-4:], (http2.MOST - 65_535).to_bytes(4, "big"))


if __name__ == "__main__":
    unittest.main()
