"""The Genesys Cloud SDK for Python, unmodified, through the gateway: no credentials here.

tests/it/sdk.rs runs one test at a time, with a gateway and a simulated Genesys Cloud of its own,
and looks at what the simulator saw.
"""

import os
import threading
import unittest
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed

import PureCloudPlatformClientV2 as genesys

SIMULATOR = os.environ["GENESYS_SIMULATOR_URL"]

# All that a program has to change.
genesys.configuration.host = os.environ["GENESYS_BASE_URL"]

ADA = "Ada Lovelace"


def revoke():
    """Every token of the organisation is dead from now on."""
    urllib.request.urlopen(urllib.request.Request(f"{SIMULATOR}/_sim/revoke", method="POST"))


class Caller:
    """A program's jobs, each checked. `before` runs before each call."""

    def __init__(self, before=lambda: None):
        # The SDK's connection pool lets four calls through at once; callers do not share one.
        self.client = genesys.ApiClient(genesys.configuration.host)
        self.before = before

    def queues(self):
        names, page, pages = [], 1, 1
        while page <= pages:
            self.before()
            listing = genesys.RoutingApi(self.client).get_routing_queues(
                page_size=25, page_number=page
            )
            names += [queue.name for queue in listing.entities]
            page, pages = page + 1, listing.page_count
        assert names == [f"Queue {number:02}" for number in range(1, 76)], names

    def user(self):
        users = genesys.UsersApi(self.client)
        self.before()
        first = users.get_users(page_size=1).entities[0]
        self.before()
        assert users.get_user(first.id).name == ADA

    def organisation(self):
        self.before()
        organisation = genesys.OrganizationApi(self.client).get_organizations_me()
        assert organisation.name == "Demo Organisation", organisation

    def conversations(self):
        query = genesys.ConversationQuery()
        query.interval = "2024-06-03T00:00:00.000Z/2024-06-10T00:00:00.000Z"
        query.paging = genesys.PagingSpec()
        query.paging.page_size, query.paging.page_number = 50, 2
        self.before()
        answer = genesys.AnalyticsApi(self.client).post_analytics_conversations_details_query(query)
        assert answer.total_hits == 1000, answer.total_hits
        assert len(answer.conversations) == 50
        assert answer.conversations[0].participants[1].purpose == "agent"

    def download(self):
        self.before()
        genesys.DownloadsApi(self.client).get_download("report")
        # The SDK follows the 303 and has no model for a file.
        assert self.client.last_response.data == "id,name\nreport,export\n"

    def jobs(self):
        return [self.queues, self.user, self.organisation, self.conversations, self.download]


class Calls(unittest.TestCase):
    def test_every_job(self):
        for job in Caller().jobs():
            job()

    def test_every_job_with_every_token_revoked_before_each_call(self):
        Caller().organisation()
        for job in Caller(before=revoke).jobs():
            job()

    def test_twenty_callers_at_once(self):
        with ThreadPoolExecutor(20) as pool:
            running = [pool.submit(Caller().jobs()[number % 5]) for number in range(20)]
            for call in as_completed(running):
                call.result()

    def test_five_rounds_of_callers_with_every_token_revoked_in_each(self):
        for _ in range(5):
            answered = threading.Event()

            def job(number):
                caller = Caller()
                caller.organisation()
                answered.set()
                caller.jobs()[number % 5]()

            with ThreadPoolExecutor(20) as pool:
                running = [pool.submit(job, number) for number in range(20)]
                answered.wait()
                revoke()
                for call in as_completed(running):
                    call.result()
        Caller().organisation()

    def test_more_calls_than_the_limit(self):
        def job(_):
            Caller().organisation()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(job, range(100)))


if __name__ == "__main__":
    unittest.main()
