// The Genesys Cloud SDK for JavaScript, unmodified, through the gateway: no credentials here.
//
// tests/it/sdk.rs runs one test at a time, with a gateway and a simulated Genesys Cloud of its
// own, and looks at what the simulator saw.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const genesys = require('purecloud-platform-client-v2');

const gateway = new URL(process.env.GENESYS_BASE_URL);
const simulator = process.env.GENESYS_SIMULATOR_URL;

// All that a program has to change.
genesys.ApiClient.instance.setGateway({
  host: gateway.hostname,
  protocol: 'http',
  port: Number(gateway.port),
});

// Every token of the organisation is dead from now on.
const revoke = async () => {
  const answer = await fetch(`${simulator}/_sim/revoke`, { method: 'POST' });
  assert.equal(answer.status, 200);
};

// A program's jobs, each checked. `before` runs before each call.
const jobs = (before = async () => {}) => ({
  async queues() {
    const names = [];
    for (let page = 1, pages = 1; page <= pages; page++) {
      await before();
      const listing = await new genesys.RoutingApi().getRoutingQueues({
        pageSize: 25,
        pageNumber: page,
      });
      names.push(...listing.entities.map((queue) => queue.name));
      pages = listing.pageCount;
    }
    const number = (index) => String(index + 1).padStart(2, '0');
    assert.deepEqual(names, Array.from({ length: 75 }, (_, index) => `Queue ${number(index)}`));
  },

  async user() {
    const users = new genesys.UsersApi();
    await before();
    const [first] = (await users.getUsers({ pageSize: 1 })).entities;
    await before();
    assert.equal((await users.getUser(first.id)).name, 'Ada Lovelace');
  },

  async organisation() {
    await before();
    const organisation = await new genesys.OrganizationApi().getOrganizationsMe();
    assert.equal(organisation.name, 'Demo Organisation');
  },

  async conversations() {
    await before();
    const answer = await new genesys.AnalyticsApi().postAnalyticsConversationsDetailsQuery({
      interval: '2024-06-03T00:00:00.000Z/2024-06-10T00:00:00.000Z',
      paging: { pageSize: 50, pageNumber: 2 },
    });
    assert.equal(answer.totalHits, 1000);
    assert.equal(answer.conversations.length, 50);
    assert.equal(answer.conversations[0].participants[1].purpose, 'agent');
  },

  async download() {
    await before();
    // The SDK follows the 303.
    const file = await new genesys.DownloadsApi().getDownload('report');
    assert.equal(file, 'id,name\nreport,export\n');
  },
});

// Twenty callers, each with its job of the five.
const twenty = (job) => {
  const five = Object.values(jobs());
  return Promise.all(Array.from({ length: 20 }, (_, number) => job(five[number % 5])));
};

test('every job', async () => {
  for (const job of Object.values(jobs())) await job();
});

test('every job with every token revoked before each call', async () => {
  await jobs().organisation();
  for (const job of Object.values(jobs(revoke))) await job();
});

test('twenty callers at once', async () => {
  await twenty((job) => job());
});

test('five rounds of callers with every token revoked in each', async () => {
  for (let round = 0; round < 5; round++) {
    let revoked;
    await twenty(async (job) => {
      await jobs().organisation();
      revoked ??= revoke();
      await job();
    });
    await revoked;
  }
  await jobs().organisation();
});

test('more calls than the limit', async () => {
  await Promise.all(Array.from({ length: 100 }, () => jobs().organisation()));
});

test('a wait that is too long is refused in time, and says how long', async () => {
  await jobs().organisation();
  const refused = await jobs().organisation().then(assert.fail, (body) => body);
  assert.equal(refused.status, 429);
  const seconds = Number(refused.message.match(/Retry the request in \[(\d+)\] seconds/)[1]);
  assert.ok(seconds > 16 && seconds <= 31, seconds);
});
