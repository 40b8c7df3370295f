// The Genesys Cloud SDK for JavaScript, unmodified, logs in at the gateway by its gateway setting.
//
// tests/it/access.rs runs it, before a gateway that knows its callers.
'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const genesys = require('purecloud-platform-client-v2');

const { CALLER_NAME: name, CALLER_KEY: key, LOGIN_PATH: path_params_login } = process.env;
const gateway = new URL(process.env.GENESYS_BASE_URL);
const client = genesys.ApiClient.instance;

client.setGateway({
  host: gateway.hostname,
  protocol: gateway.protocol.slice(0, -1),
  port: Number(gateway.port),
  path_params_login,
});

test('a caller logs in and calls', async () => {
  await client.loginClientCredentialsGrant(name, key);
  const organisation = await new genesys.OrganizationApi().getOrganizationsMe();
  assert.equal(organisation.name, 'Demo Organisation');
  const me = await new genesys.TokensApi().getTokensMe();
  assert.equal(me.OAuthClient.name, name);
  await new genesys.TokensApi().deleteTokensMe();
  const ended = await new genesys.OrganizationApi().getOrganizationsMe().then(assert.fail, (body) => body);
  assert.equal(ended.status, 401);
});

test('a wrong key is refused', async () => {
  await assert.rejects(client.loginClientCredentialsGrant(name, `${key}x`));
});
