// An authorization server that we did not write, and an API that believes only its tokens.
// It must never outlive the test that started it, nor listen anywhere but on 127.0.0.1.
//
// The first line of stdin says what the test wants:
//   ttl      seconds a token lives, 3600 if not said
//   keys     public keys (PEM or JWK) of the clients "rs256" and "es256"
//   tls      {key, cert, ca} (PEM) of a second listener, which asks for a client's certificate
// The first line of stdout says what there is: the addresses, and each client's id and secret.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';

import { resourceServer } from './api.mjs';
import { controls } from './control.mjs';
import { authorizationServer, registered } from './provider.mjs';
import { World } from './world.mjs';

// Stdout is for the ready line alone.
console.info = console.error;
process.stdin.on('end', () => process.exit());

const [line] = await once(createInterface({ input: process.stdin }), 'line');
const wanted = JSON.parse(line);

const listen = async (server) => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return `127.0.0.1:${server.address().port}`;
};
const plain = http.createServer();
const issuer = `http://${await listen(plain)}`;
const world = new World(wanted);
const clients = registered(wanted);
const provider = authorizationServer(issuer, world, clients);
const login = provider.callback();
const api = resourceServer(provider, world);
const control = controls(provider, world);

const KINDS = {
  '/token': 'logins',
  '/token/introspection': 'introspections',
  '/token/revocation': 'revocations',
  '/jwks': 'keys',
};

// One request: counted, delayed or refused as the test wants, and only then answered.
async function answer(request, response) {
  const { pathname } = new URL(request.url, issuer);
  if (pathname.startsWith('/_test/')) {
    await control(pathname, request, response);
    return;
  }
  const isApi = pathname.startsWith('/api/v2/');
  const kind = isApi ? 'calls' : KINDS[pathname];
  const fault = kind && (await world.meet(kind, request, response));
  if (response.destroyed) {
    return;
  }
  response.setHeader('Date', world.date());
  if (Number.isInteger(fault)) {
    response.writeHead(fault, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ error: 'server_error', status: fault }));
  } else {
    await (isApi ? api : login)(request, response);
  }
}

// A caller that leaves in the middle of its body is no reason to end.
const serve = (request, response) =>
  answer(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
plain.on('request', serve);
const ready = { issuer, clients };
if (wanted.tls) {
  // Who shows no certificate gets through: it is the provider that must refuse.
  const options = { ...wanted.tls, requestCert: true, rejectUnauthorized: false };
  ready.tls = `https://${await listen(https.createServer(options, serve))}`;
}
console.log(JSON.stringify(ready));
