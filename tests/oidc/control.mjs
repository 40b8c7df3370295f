// What a test does to the server while it runs, by POST of a JSON object.
// It must never be asked by the gateway: none of it exists at a real server.

import { kill } from './api.mjs';
import { rotate, setSecret } from './provider.mjs';

async function sent(request) {
  const pieces = await request.toArray();
  return JSON.parse(Buffer.concat(pieces).toString() || '{}');
}

// Each count that `least` names is at least so high; a missing one is 0.
const reached = (seen, least) =>
  Object.entries(least).every(([name, n]) =>
    typeof n === 'number' ? (seen[name] ?? 0) >= n : reached(seen[name], n),
  );

export function controls(provider, world) {
  const actions = {
    // The counts.
    seen: () => world.seen,
    // Waits until each count that is named is at least so high; the counts then.
    async until(least) {
      await world.until(({ seen }) => reached(seen, least));
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
    // The newest token that no test has killed.
    newest: () => ({ token: world.tokens.at(-1)?.value }),
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
