"""The Genesys Cloud SDK for Python, unmodified, logs in at the gateway by its gateway setting.

tests/it/access.rs and tests/it/shared_logins.rs run it, before gateways that know their callers.
"""

import os
import unittest
from urllib.parse import urlsplit

import PureCloudPlatformClientV2 as genesys

NAME, KEY = os.environ["CALLER_NAME"], os.environ["CALLER_KEY"]
GATEWAY = urlsplit(os.environ["GENESYS_BASE_URL"])


def client(gateway=GATEWAY):
    client = genesys.ApiClient()
    client.set_gateway(
        gateway.hostname, gateway.scheme, gateway.port, os.environ["LOGIN_PATH"], ""
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

    def test_one_login_is_good_at_two_gateways(self):
        first = client().get_client_credentials_token(NAME, KEY)
        second = client(urlsplit(os.environ["OTHER_BASE_URL"]))
        second.access_token = first.access_token
        for _ in range(3):
            for replica in (first, second):
                organisation = genesys.OrganizationApi(replica).get_organizations_me()
                self.assertEqual(organisation.name, "Demo Organisation")
        self.assertEqual(genesys.TokensApi(second).get_tokens_me().o_auth_client.name, NAME)

    def test_a_wrong_key_is_refused(self):
        with self.assertRaises(genesys.rest.ApiException) as refused:
            client().get_client_credentials_token(NAME, KEY + "x")
        self.assertEqual(refused.exception.status, 401)


if __name__ == "__main__":
    unittest.main()
