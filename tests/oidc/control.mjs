// What a test does to the server while it runs, by POST of a JSON object.
// It must never be asked by the gateway: none of it exists at a real server.

import { kill } from './api.mjs';
import { rotate, setSecret } from './provider.mjs';

async function sent(request) {
  const pieces = await request.toArray();
  return JSON.parse(Buffer.concat(pieces).toString() || '{}');
}

export function controls(provider, world) {
  const actions = {
    // The counts.
    seen: () => world.seen,
    // Waits until each count that is named is at least so high; the counts then.
    async until(least) {
      const reached = ({ seen }) => Object.entries(least).every(([name, n]) => seen[name] >= n);
      await world.until(reached);
      return world.seen;
    },
    // Sets `ttl`, `faults`, `dateSkew` and `clockSkew`; what a removed fault held goes on.
    set: ({ ttl, faults, dateSkew, clockSkew }) =>
      world.change(() => {
        world.ttl = ttl ?? world.ttl;
        world.faults = faults ?? world.faults;
        world.dateSkew = dateSkew ?? world.dateSkew;
        world.clockSkew = clockSkew ?? world.clockSkew;
      }),
    // Kills every token, or only the newest.
    async revoke({ newest }) {
      const dying = newest ? world.tokens.slice(-1) : world.tokens;
      await Promise.all(dying.map((token) => kill(provider, world, token)));
      return { revoked: dying.length };
    },
    // The client's former secret is refused at once.
    secret: ({ id, secret }) => setSecret(id, secret),
    // Another key signs from now on; `forget` takes those before it out of the published set.
    rotate: ({ forget }) => rotate(provider, world, forget),
  };
  return async (pathname, request, response) => {
    const action = actions[pathname.slice('/_test/'.length)];
    const done = await action(await sent(request));
    response.end(JSON.stringify(done ?? {}));
  };
}
