// The Genesys Cloud SDK for JavaScript, unmodified, with far more calls at once than the limit
// allows.
//
// tests/it/sdk_limits.rs runs it, with a gateway and a simulated Genesys Cloud of its own, and
// looks at what both saw.
'use strict';

const assert = require('node:assert/strict');
const net = require('node:net');
const { test } = require('node:test');
const { setTimeout: sleep } = require('node:timers/promises');
const genesys = require('purecloud-platform-client-v2');

const CALLS = 400;

const gateway = new URL(process.env.GENESYS_BASE_URL);
genesys.ApiClient.instance.setGateway({
  host: gateway.hostname,
  protocol: 'http',
  port: Number(gateway.port),
});
// Otherwise it hides the headers of a 429 from its user.
genesys.ApiClient.instance.setReturnExtendedResponses(true);
const key = process.env.GENESYS_API_KEY;
genesys.ApiClient.instance.setDefaultHeaders(key ? { 'X-Api-Key': key } : {});

// Waits for the others, if there are any: the test hangs up when all are here.
const start = async () => {
  const line = process.env.GENESYS_TEST_START;
  if (!line) return;
  const [host, port] = line.split(':');
  const waiting = net.connect(Number(port), host);
  await new Promise((all, failed) => {
    waiting.on('end', all).on('error', failed).resume();
  });
};

// One call, as the gateway's log can tell it from others. A timeout, or anything else that is no
// answer, has no status.
const call = async (number) => {
  const customHeaders = { 'X-Request-Id': `javascript-${number}` };
  const api = new genesys.OrganizationApi();
  const answer = await api.getOrganizationsMe({ customHeaders }).catch((error) => error);
  assert.ok([200, 429].includes(answer.status), `${answer.status} ${answer.code} ${answer}`);
  if (answer.status === 200) assert.equal(answer.body.name, 'Demo Organisation');
  return answer;
};

// When a refused caller is to come back: the field and the sentence agree.
const told = ({ headers, body }) => {
  const seconds = headers['retry-after'];
  assert.match(seconds, /^[1-9][0-9]*$/);
  assert.match(body.message, new RegExp(`Retry the request in \\[${seconds}\\] seconds$`));
  return Number(seconds);
};

test('four hundred at once, and who is refused is served when it comes back as told', async () => {
  await start();
  const refused = [];
  const calls = Array.from({ length: CALLS }, async (_, number) => {
    const first = await call(number);
    if (first.status === 200) return;
    const seconds = told(first);
    await sleep(seconds * 1000);
    const second = await call(number);
    refused.push({ number, seconds, then: second.status, again: second.headers['retry-after'] });
  });
  // One that fails does not hide the others, nor do many that fail alike.
  const failed = {};
  for (const { reason } of await Promise.allSettled(calls)) {
    if (reason) failed[reason.message] = (failed[reason.message] ?? 0) + 1;
  }
  assert.deepEqual(failed, {});
  assert.notEqual(refused.length, 0);
  const broken = refused.filter(({ then }) => then !== 200);
  assert.deepEqual(broken, [], `${broken.length} of ${refused.length} were refused again`);
});
