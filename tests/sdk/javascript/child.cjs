// The Genesys Cloud SDK for JavaScript, unmodified, below `genesys-proxy exec`: all that this script
// knows is what its environment says.
//
// tests/it/exec.rs runs it.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const genesys = require('purecloud-platform-client-v2');

const env = process.env;
const client = genesys.ApiClient.instance;

client.setGateway({
  host: env.GENESYSCLOUD_GATEWAY_HOST,
  protocol: env.GENESYSCLOUD_GATEWAY_PROTOCOL,
  port: Number(env.GENESYSCLOUD_GATEWAY_PORT),
});

async function called() {
  const organisation = await new genesys.OrganizationApi().getOrganizationsMe();
  assert.equal(organisation.name, 'Demo Organisation');
}

test('a program that logs in', async () => {
  await client.loginClientCredentialsGrant(env.GENESYS_CLIENT_ID, env.GENESYS_CLIENT_SECRET);
  await called();
});

test('a program that shows its key', async () => {
  client.setDefaultHeaders({ 'X-Api-Key': env.GENESYS_API_KEY });
  await called();
});
