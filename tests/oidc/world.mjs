// What one test can see and change: counts, faults, the clock, and the tokens that live.
// It must never drop a count: a test that waits for one would hang.

import { EventEmitter, once } from 'node:events';

const now = Date.now;

export class World {
  // By what was asked; `mints` and `checks` by client, where a check is an introspection that the
  // client was let in for, or a HEAD of /api/v2/tokens/me by its live token. `basic` is how many logins came with HTTP Basic, which
  // the provider takes from clients of the form too; `held` is how many requests hang now.
  seen = {
    logins: 0,
    basic: 0,
    introspections: 0,
    revocations: 0,
    keys: 0,
    calls: 0,
    unauthorized: 0,
    held: 0,
    mints: {},
    checks: {},
  };

  // A status, or "hang", by the names of `seen`.
  faults = {};

  // Seconds by which the Date header is wrong, and by which this whole process's clock is.
  dateSkew = 0;
  clockSkew = 0;

  // {value, jti, jwt}, oldest first, and the jti of JWTs that are not believed any more.
  tokens = [];
  denied = new Set();

  // The public keys that ever signed, newest first.
  keys = [];

  #changed = new EventEmitter().setMaxListeners(0);

  constructor({ ttl = 3600 }) {
    this.ttl = ttl;
    Date.now = () => now() + this.clockSkew * 1000;
  }

  change(edit) {
    edit(this);
    this.#changed.emit('change');
  }

  date() {
    return new Date(Date.now() + this.dateSkew * 1000).toUTCString();
  }

  // Resolves once this holds.
  async until(reached) {
    while (!reached(this)) {
      await once(this.#changed, 'change');
    }
  }

  minted({ clientId, jti, resourceServer }, value) {
    this.change(({ seen, tokens }) => {
      seen.mints[clientId] = (seen.mints[clientId] ?? 0) + 1;
      tokens.push({ value, jti, jwt: resourceServer.accessTokenFormat === 'jwt' });
    });
  }

  checked(clientId) {
    this.change(({ seen }) => (seen.checks[clientId] = (seen.checks[clientId] ?? 0) + 1));
  }

  // Counts a request and hangs for as long as it should; the status it fails with, if any.
  async meet(kind, { headers }, response) {
    this.change(({ seen }) => {
      seen[kind] += 1;
      seen.basic += kind === 'logins' && /^Basic /i.test(headers.authorization);
    });
    if (this.faults[kind] === 'hang') {
      this.change(({ seen }) => (seen.held += 1));
      response.on('close', () => this.change(() => {}));
      await this.until(() => this.faults[kind] !== 'hang' || response.destroyed);
      this.change(({ seen }) => (seen.held -= 1));
    }
    return this.faults[kind];
  }
}
