// The certified provider, with one client for each way to authenticate.
// It must never be more lenient than the provider is: what that refuses, real servers refuse.

import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';

import { installed } from './installed.mjs';

const { Provider, errors } = await installed('oidc-provider');
// Only from inside can a key be added at run time; the version is pinned.
const { default: inside } = await installed('oidc-provider/lib/helpers/weak_cache.js');

const SCOPES = 'routing:read users:read';
const SIGNED_WITH = 'token_endpoint_auth_signing_alg';
const SHOWN_NAME = 'tls_client_auth_san_dns';
// Every kind of character that RFC 6749 2.3.1 has encoded before Basic; the provider takes none
// but those of ASCII that can be printed.
const AWKWARD = `:; +/%25&=?#"'<>\\~`;

// One client for each way; those that sign come with the keys they sign with, PEM or JWK.
export function registered({ keys = {} }) {
  const basic = { id: `basic${AWKWARD}`, secret: `secret of basic${AWKWARD}` };
  const post = { id: `post${AWKWARD}`, secret: `secret of post${AWKWARD}` };
  const hs256 = { id: 'hs256', secret: 'a secret of at least thirty-two bytes' };
  const signer = (name) => {
    const key = keys[name];
    const jwk = key.kty ? key : createPublicKey(key).export({ format: 'jwk' });
    const jwks = { keys: [jwk] };
    const alg = name.toUpperCase();
    return { id: name, method: 'private_key_jwt', more: { jwks, [SIGNED_WITH]: alg } };
  };
  return {
    basic: { ...basic, method: 'client_secret_basic' },
    post: { ...post, method: 'client_secret_post' },
    hs256: { ...hs256, method: 'client_secret_jwt', more: { [SIGNED_WITH]: 'HS256' } },
    tls: { id: 'tls', method: 'tls_client_auth', more: { [SHOWN_NAME]: 'gateway.test' } },
    ...Object.fromEntries(Object.keys(keys).map((name) => [name, signer(name)])),
  };
}

// The clients, the live opaque tokens, and the assertions seen. The provider's own store would
// forget tokens that are more than a thousand.
class Store {
  static all = new Map();

  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload) {
    Store.all.set(`${this.model} ${id}`, payload);
  }

  async find(id) {
    return Store.all.get(`${this.model} ${id}`);
  }

  async destroy(id) {
    Store.all.delete(`${this.model} ${id}`);
  }
}

// From now on no other secret is right.
export function setSecret(id, secret) {
  Store.all.get(`Client ${id}`).client_secret = secret;
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const own = { kid: randomUUID(), alg: 'RS256', use: 'sig' };
  return { ...privateKey.export({ format: 'jwk' }), ...own };
}

// The newest key signs. `forget` takes the others out of the published set; the API still knows
// them.
export function rotate(provider, world, forget) {
  const key = signingKey();
  const { keystore, jwks } = inside(provider);
  keystore.add(key);
  const { kty, kid, alg, use, e, n } = key;
  const fresh = { kty, kid, alg, use, e, n };
  world.keys.unshift(fresh);
  jwks.keys = [fresh, ...(forget ? [] : jwks.keys)];
}

// What the client asks for in `resource` decides what its token looks like.
const resourceIndicators = (world) => ({
  enabled: true,
  defaultResource: () => 'urn:opaque',
  getResourceServerInfo(_, resource) {
    const accessTokenFormat = { 'urn:opaque': 'opaque', 'urn:jwt': 'jwt' }[resource];
    if (!accessTokenFormat) {
      throw new errors.InvalidTarget();
    }
    const jwt = { sign: { alg: 'RS256', kid: world.keys[0].kid } };
    return { accessTokenFormat, scope: SCOPES, audience: resource, jwt };
  },
});

// A client may ask about its own tokens, and end them.
const allowedPolicy = (_, client, token) => token.clientId === client.clientId;

const mTLS = {
  enabled: true,
  tlsClientAuth: true,
  getCertificate: ({ socket }) => socket.getPeerX509Certificate?.()?.toString(),
  certificateAuthorized: ({ socket }) => socket.authorized,
  certificateSubjectMatches: ({ socket }, property, name) =>
    property === SHOWN_NAME && socket.getPeerX509Certificate().checkHost(name) === name,
};

export function authorizationServer(issuer, world, clients) {
  for (const { id, secret, method, more } of Object.values(clients)) {
    Store.all.set(`Client ${id}`, {
      client_id: id,
      client_secret: secret,
      token_endpoint_auth_method: method,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      ...more,
    });
  }
  const provider = new Provider(issuer, {
    adapter: Store,
    clientAuthMethods: [...new Set(Object.values(clients).map(({ method }) => method))],
    cookies: { keys: [randomUUID()] },
    enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'ES256'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy },
      mTLS,
      resourceIndicators: resourceIndicators(world),
      revocation: { enabled: true, allowedPolicy },
    },
    jwks: { keys: [signingKey()] },
    scopes: SCOPES.split(' '),
    ttl: { ClientCredentials: () => world.ttl },
  });
  world.keys = [...inside(provider).jwks.keys];
  provider.use(async (ctx, next) => {
    await next();
    const minted = ctx.oidc?.entities.ClientCredentials;
    if (ctx.oidc?.route === 'token' && minted) {
      world.minted(minted, ctx.body.access_token);
    }
    if (ctx.oidc?.route === 'introspection' && ctx.oidc.client) {
      world.checked(ctx.oidc.client.clientId);
    }
  });
  return provider;
}
