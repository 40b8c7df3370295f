"""The Genesys Cloud SDK for Python, unmodified, logs in at the gateway by its gateway setting.

tests/it/access.rs runs it, before a gateway that knows its callers.
"""

import os
import unittest
from urllib.parse import urlsplit

import PureCloudPlatformClientV2 as genesys

NAME, KEY = os.environ["CALLER_NAME"], os.environ["CALLER_KEY"]
GATEWAY = urlsplit(os.environ["GENESYS_BASE_URL"])


def client():
    client = genesys.ApiClient()
    client.set_gateway(
        GATEWAY.hostname, GATEWAY.scheme, GATEWAY.port, os.environ["LOGIN_PATH"], ""
    )
    return client


class Calls(unittest.TestCase):
    def test_a_caller_logs_in_and_calls(self):
        logged_in = client().get_client_credentials_token(NAME, KEY)
        organisation = genesys.OrganizationApi(logged_in).get_organizations_me()
        self.assertEqual(organisation.name, "Demo Organisation")
        me = genesys.TokensApi(logged_in).get_tokens_me()
        self.assertEqual(me.o_auth_client.name, NAME)
        genesys.TokensApi(logged_in).delete_tokens_me()
        with self.assertRaises(genesys.rest.ApiException) as ended:
            genesys.OrganizationApi(logged_in).get_organizations_me()
        self.assertEqual(ended.exception.status, 401)

    def test_a_wrong_key_is_refused(self):
        with self.assertRaises(genesys.rest.ApiException) as refused:
            client().get_client_credentials_token(NAME, KEY + "x")
        self.assertEqual(refused.exception.status, 401)


if __name__ == "__main__":
    unittest.main()
