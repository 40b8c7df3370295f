"""The Genesys Cloud SDK for Python, unmodified, with far more calls at once than the limit allows.

tests/it/sdk_limits.rs runs it, with a gateway and a simulated Genesys Cloud of its own, and looks
at what both saw.
"""

import os
import socket
import unittest
from concurrent.futures import ThreadPoolExecutor

import PureCloudPlatformClientV2 as genesys

CALLS = 400

genesys.configuration.host = os.environ["GENESYS_BASE_URL"]


def caller(number):
    """A program with one call to make. It can be told from others in the gateway's log."""
    client = genesys.ApiClient(genesys.configuration.host)
    client.set_default_header("X-Request-Id", f"python-{number}")
    if key := os.environ.get("GENESYS_API_KEY"):
        client.set_default_header("X-Api-Key", key)
    # The SDK makes it before its first call.
    client.get_http_client()
    return genesys.OrganizationApi(client)


def start():
    """Waits for the others, if there are any: the test hangs up when all are here."""
    if line := os.environ.get("GENESYS_TEST_START"):
        host, port = line.split(":")
        with socket.create_connection((host, int(port))) as waiting:
            assert waiting.recv(1) == b""


class Calls(unittest.TestCase):
    def test_four_hundred_at_once_all_succeed(self):
        def call(api):
            return api.get_organizations_me().name

        callers = [caller(number) for number in range(CALLS)]
        start()
        with ThreadPoolExecutor(CALLS) as pool:
            names = list(pool.map(call, callers))
        self.assertEqual(names, ["Demo Organisation"] * CALLS)


if __name__ == "__main__":
    unittest.main()
