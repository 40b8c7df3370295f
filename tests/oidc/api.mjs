// Stands in for Genesys's API: it answers whoever brings a live token of the provider.
// It must never believe a token that was revoked, has expired, or is signed by anyone else.

import { randomUUID } from 'node:crypto';

import { installed } from './installed.mjs';

const { createLocalJWKSet, jwtVerify } = await installed('jose');

// The live token that this value is.
async function live(provider, world, value) {
  const opaque = await provider.ClientCredentials.find(value);
  if (opaque?.isValid) {
    const { jti, scope, clientId: client } = opaque;
    return { value, jti, scope, client, jwt: false };
  }
  try {
    const keys = createLocalJWKSet({ keys: world.keys });
    const { payload } = await jwtVerify(value, keys, {
      issuer: provider.issuer,
      audience: 'urn:jwt',
      algorithms: ['RS256'],
      currentDate: new Date(Date.now()),
    });
    const { jti, scope, client_id: client } = payload;
    return world.denied.has(jti) ? undefined : { value, jti, scope, client, jwt: true };
  } catch {
    return undefined;
  }
}

// Makes a token dead.
export async function kill(provider, world, { value, jti, jwt }) {
  if (jwt) {
    world.denied.add(jti);
  } else {
    await (await provider.ClientCredentials.find(value))?.destroy();
  }
  world.tokens = world.tokens.filter((token) => token.value !== value);
}

export function resourceServer(provider, world) {
  return async (request, response) => {
    const id = randomUUID();
    const send = (status, body) => {
      response.writeHead(status, {
        'Content-Type': 'application/json',
        'ININ-Correlation-Id': id,
      });
      response.end(JSON.stringify(body));
    };
    const [, value] = /^Bearer (\S+)$/i.exec(request.headers.authorization) ?? [];
    const token = value && (await live(provider, world, value));
    // A body is read to its end, as Genesys does.
    for await (const _ of request);
    if (!token) {
      world.change(({ seen }) => (seen.unauthorized += 1));
      send(401, {
        message: value ? 'Invalid login credentials.' : 'No authentication bearer token specified.',
        code: value ? 'bad.credentials' : 'authentication.required',
        status: 401,
        contextId: id,
        details: [],
        errors: [],
      });
      return;
    }
    if (request.method === 'DELETE' && request.url === '/api/v2/tokens/me') {
      await kill(provider, world, token);
    }
    if (request.method === 'HEAD' && request.url === '/api/v2/tokens/me') {
      world.checked(token.client);
    }
    const { client, scope, jwt, jti } = token;
    send(200, { client, scope, jwt, jti, method: request.method, path: request.url });
  };
}
