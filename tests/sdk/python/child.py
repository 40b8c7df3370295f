"""The Genesys Cloud SDK for Python, unmodified, below `genesys-proxy exec`: all that this script knows
is what its environment says.

tests/it/exec.rs runs it.
"""

import os
import unittest

import PureCloudPlatformClientV2 as genesys

ENV = os.environ


class Calls(unittest.TestCase):
    def called(self, client):
        organisation = genesys.OrganizationApi(client).get_organizations_me()
        self.assertEqual(organisation.name, "Demo Organisation")

    def test_a_program_that_logs_in(self):
        client = genesys.ApiClient()
        client.set_gateway(
            ENV["GENESYSCLOUD_GATEWAY_HOST"],
            ENV["GENESYSCLOUD_GATEWAY_PROTOCOL"],
            int(ENV["GENESYSCLOUD_GATEWAY_PORT"]),
            "",
            "",
        )
        self.called(
            client.get_client_credentials_token(
                ENV["GENESYS_CLIENT_ID"], ENV["GENESYS_CLIENT_SECRET"]
            )
        )

    def test_a_program_that_shows_its_key(self):
        client = genesys.ApiClient(ENV["GENESYS_BASE_URL"])
        client.set_default_header("X-Api-Key", ENV["GENESYS_API_KEY"])
        self.called(client)


if __name__ == "__main__":
    unittest.main()
