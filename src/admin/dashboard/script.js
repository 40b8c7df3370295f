'use strict';
// Shows what /api/status says, every two seconds while somebody looks. All text comes in as text: names of
// callers and paths are whatever somebody sent.
const EVERY = 2000, PATIENCE = 5000, SPAN = 600, WIDTH = 600, HEIGHT = 180, CIRCLE = 100;
const one = (root, selector) => root.querySelector(selector);
const number = (n) => n.toLocaleString('en');
let seen = 0, timer = 0, told = '';

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function element(name, kind, value) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (value !== undefined) made.textContent = value;
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

// One child for each item, in their order. Who has the focus keeps it.
function rows(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = document.activeElement;
  items.forEach((item, at) => {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    update(child, item);
    if (parent.children[at] !== child) parent.insertBefore(child, parent.children[at] ?? null);
  });
  known.forEach((child) => child.remove());
  if (focused && focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

function say(what, bad) {
  const place = one(document, '#said');
  place.className = bad ? 'bad' : '';
  place.textContent = what;
}

async function act(path, body) {
  const key = one(document, '#key');
  if (!key.value) {
    say('Type the admin key first: actions need it.', true);
    key.focus();
    return;
  }
  try {
    const answer = await fetch(path, {
      method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(PATIENCE),
      headers: {'content-type': 'application/json', 'x-api-key': key.value},
    });
    const result = await answer.text();
    let words = result;
    try {
      const {done, message} = JSON.parse(result);
      words = done ?? message;
    } catch { /* It is plain text, then. */ }
    if (answer.status === 401) {
      say('That is not the admin key.', true);
      key.select();
      key.focus();
    } else {
      say(answer.ok ? `Done: ${words}` : `Refused: ${words}`, !answer.ok);
    }
  } catch {
    say('The gateway did not answer: nothing is known of the action.', true);
  }
  ask();
}

function state(words, kind) {
  const pill = one(document, '#state');
  pill.className = `pill ${kind}`;
  text(pill, words);
  document.title = `${words} · genesys-proxy`;
  const simple = words.replace(/\d+/g, '');
  // Read aloud when it changes, not each time that it is asked.
  if (told && told !== simple) say(`The gateway: ${words}`, kind === 'bad');
  told = simple;
}

function ring(item, org) {
  const made = element('li');
  const picture = drawn('svg', {class: 'ring', viewBox: '0 0 120 120', role: 'img'});
  const circle = {cx: 60, cy: 60, r: 50, pathLength: CIRCLE};
  picture.append(
    drawn('circle', circle),
    drawn('circle', {...circle, class: 'life', transform: 'rotate(-90 60 60)'}),
    drawn('text', {class: 'left', x: 60, y: 62}), drawn('text', {class: 'under', x: 60, y: 77}));
  const renew = element('button', '', 'Renew');
  renew.type = 'button';
  renew.setAttribute('aria-label', `Renew token ${item.number} of ${org.name}`);
  renew.addEventListener('click', () => act('/api/tokens/refresh', {org: org.name, token: item.number}));
  made.append(picture, element('p', 'client'), element('p', 'quiet about'), renew);
  return made;
}

function turn(child, item) {
  const valid = item.state === 'valid';
  const share = valid && item.life_s ? item.expires_in_s / item.life_s : 0;
  const left = valid ? duration(item.expires_in_s) : 'none';
  const life = one(child, '.life');
  life.setAttribute('class', share < 0.1 ? 'life soon' : 'life');
  life.setAttribute('stroke-dasharray', `${valid ? Math.max(share * CIRCLE, 0.5) : 0} ${CIRCLE * 2}`);
  text(one(child, '.left'), left);
  text(one(child, '.under'), valid ? `of ${duration(item.life_s)}` : 'no token');
  text(one(child, '.client'), item.client);
  const parts = [`generation ${item.generation}`];
  if (item.fingerprint) parts.push(item.fingerprint);
  if (item.share) parts.push(item.share === 'private' ? 'this gateway only' : item.share);
  text(one(child, '.about'), parts.join(' · '));
  const words = valid ? `${left} of ${duration(item.life_s)} left` : 'there is none';
  one(child, 'svg').setAttribute('aria-label', `Token ${item.number} of ${item.client}: ${words}, generation ${item.generation}`);
}

function plot(card, org) {
  const {budget, history} = org;
  const big = one(card, '.big');
  const most = budget.allowed ?? budget.limit;
  const what = most === undefined ? 'calls in the window, no limit of its own' : `of ${number(most)} calls in ${budget.window_s} s`;
  const paused = budget.paused_until_s ? ` · paused for ${budget.paused_until_s} s, as Genesys Cloud asked` : '';
  big.replaceChildren(element('strong', '', number(budget.used)), ` ${what}${paused}`);
  const now = history.length ? history[history.length - 1].at : 0;
  const top = Math.max(1, ...history.map((s) => Math.max(s.used, s.allowed ?? 0, s.waiting))) * 1.1;
  const x = (at) => (WIDTH * (1 - (now - at) / SPAN)).toFixed(1);
  const y = (n) => (HEIGHT - (HEIGHT - 4) * n / top - 2).toFixed(1);
  const line = (of) => history.filter((s) => of(s) !== undefined && now - s.at <= SPAN)
    .map((s, at) => `${at ? 'L' : 'M'}${x(s.at)} ${y(of(s))}`).join('');
  const edge = line((s) => s.used);
  const first = history.find((s) => now - s.at <= SPAN);
  const draw = (name, path) => one(card, `.plot .${name}`).setAttribute('d', path);
  draw('edge', edge);
  draw('used', first ? `${edge}L${x(now)} ${HEIGHT}L${x(first.at)} ${HEIGHT}Z` : '');
  draw('allowed', line((s) => s.allowed));
  const waits = history.some((s) => s.waiting > 0);
  draw('waiting', waits ? line((s) => s.waiting) : '');
  draw('grid-line', [0.25, 0.5, 0.75].map((part) => `M0 ${HEIGHT * part}H${WIDTH}`).join(''));
  const legend = one(card, '.legend');
  const named = [['', 'used'], ['allowed', 'allowed'], ['waiting', 'waiting']];
  legend.replaceChildren(...named.slice(0, waits ? 3 : 2).flatMap(([kind, word]) => [element('i', kind), word]));
  const peak = Math.max(0, ...history.map((s) => s.used));
  one(card, '.plot').setAttribute('aria-label',
    `Budget: ${number(budget.used)} ${what}; at most ${number(peak)} in the last ten minutes; ${number(org.queue.waiting)} waiting`);
}

function bar(share, label) {
  const made = element('span', 'bar');
  made.append(element('i'));
  made.firstChild.style.width = `${(share * 100).toFixed(1)}%`;
  if (label) made.title = label;
  return made;
}

function line(queue, org) {
  const {waiting, max_queue: most, callers, others} = org.queue;
  one(queue, '.big').replaceChildren(element('strong', '', number(waiting)), ` of at most ${number(most)}`);
  const all = others ? [...callers, {name: 'all others', waiting: others}] : callers;
  const longest = Math.max(1, ...all.map((caller) => caller.waiting));
  const make = () => {
    const made = element('li');
    made.append(element('span', 'name'), element('span', 'count'), bar(0));
    return made;
  };
  rows(one(queue, '.bars'), all, (caller) => caller.name, make, (child, caller) => {
    text(one(child, '.name'), caller.name);
    text(one(child, '.count'), number(caller.waiting));
    one(child, '.bar i').style.width = `${caller.waiting / longest * 100}%`;
  });
}

function table(card, items, title, org, withAction) {
  one(card, '.none').hidden = items.length > 0;
  const wide = one(card, '.wide');
  wide.hidden = items.length === 0;
  wide.setAttribute('aria-label', `${title} of ${org.name}`);
  const all = items.reduce((sum, item) => sum + item.last_minute, 0);
  const make = (item) => {
    const made = element('tr');
    const lately = element('td', 'lately');
    lately.append(element('span', 'count'), bar(0));
    made.append(element('td', 'name', item.name), lately, element('td', 'calls'), element('td', 'failed'));
    if (withAction) {
      const action = element('td');
      // Only who has a name can be held.
      if (!item.name.startsWith('(')) {
        const hold = element('button');
        hold.type = 'button';
        hold.addEventListener('click', () => act(`/api/callers/${hold.dataset.action}`, {org: org.name, caller: item.name}));
        action.append(hold);
      }
      made.append(action);
    }
    return made;
  };
  rows(one(card, 'tbody'), items, (item) => item.name, make, (child, item) => {
    const share = all ? item.last_minute / all : 0;
    const percent = all ? ` (${Math.round(share * 100)} %)` : '';
    text(one(child, '.count'), `${number(item.last_minute)}${percent}`);
    one(child, '.bar i').style.width = `${share * 100}%`;
    text(one(child, '.calls'), number(item.calls));
    text(one(child, '.failed'), number(item.errors));
    const hold = one(child, 'button');
    if (!hold) return;
    const paused = org.paused.includes(item.name);
    child.className = paused ? 'paused' : '';
    hold.dataset.action = paused ? 'resume' : 'pause';
    text(hold, paused ? 'Resume' : 'Pause');
    hold.setAttribute('aria-label', `${paused ? 'Resume' : 'Pause'} ${item.name}`);
  });
}

function facts(place, pairs) {
  const shown = pairs.filter(([, value]) => value !== undefined);
  rows(place, shown, ([name]) => name, () => {
    const made = element('div');
    made.append(element('dt'), element('dd'));
    return made;
  }, (child, [name, value]) => {
    text(child.firstChild, name);
    text(child.lastChild, String(value));
  });
}

function organisation(section, org, status) {
  text(one(section, '.name'), status.organisations.length > 1 ? `Organisation ${org.name}` : 'Traffic');
  // Callers that are held without a call are to be seen, too.
  const held = org.paused.filter((name) => !org.callers.some((caller) => caller.name === name));
  const callers = [...org.callers, ...held.map((name) => ({name, last_minute: 0, calls: 0, errors: 0}))];
  plot(one(section, '.budget'), org);
  rows(one(section, '.rings'), org.tokens, (token) => token.number, (token) => ring(token, org), turn);
  line(one(section, '.queue'), org);
  table(one(section, '.callers'), callers, 'Callers', org, true);
  table(one(section, '.families'), org.families, 'Paths', org, false);
  facts(one(section, '.more dl'), [
    ['In flight', number(org.in_flight)],
    ['Replicas', org.replicas],
    ['Retries left', `${number(org.retries.api)} (uploads ${number(org.retries.apps)})`],
    ['Limit', org.budget.limit === undefined ? undefined : `${number(org.budget.limit)} in ${org.budget.window_s} s`],
    ['Store', status.store && (status.store.why ? `${status.store.state}: ${status.store.why}` : status.store.state)],
    ['Audit log', status.audit && (status.audit.failing ? 'cannot be written' : `written, ${number(status.audit.lost)} lost`)],
    ['Log', status.log && status.log.level],
  ]);
}

function errors(all) {
  const body = one(document, '#errors');
  one(document, '#errors-none').hidden = all.length > 0;
  body.closest('.wide').hidden = all.length === 0;
  rows(body, all, (error) => error.request_id, (error) => {
    const made = element('tr');
    const when = element('td', '', new Date(error.at).toLocaleTimeString());
    when.title = error.at;
    const ids = [error.request_id, error.correlation_id].map((id) => {
      const cell = element('td');
      if (id) cell.append(element('code', '', id));
      return cell;
    });
    const who = error.org ? `${error.caller} (${error.org})` : error.caller;
    const what = error.code ? `${error.status} ${error.code}` : `${error.status} from Genesys Cloud`;
    made.append(when, element('td', 'name', who), element('td', 'name', `${error.method} ${error.path}`), element('td', '', what), ...ids);
    return made;
  }, () => {});
}

function show(status) {
  const {ready, draining, reasons} = status;
  state(draining ? 'Draining' : ready ? 'Ready' : 'Not ready', ready && !draining ? 'good' : 'bad');
  text(one(document, '#facts'), `version ${status.version} · up ${duration(status.uptime_s)} · connections: ${number(status.connections)}`);
  const alarm = one(document, '#reasons');
  alarm.hidden = reasons.length === 0;
  rows(one(alarm, 'ul'), reasons, (reason) => reason, (reason) => element('li', '', reason), () => {});
  rows(one(document, '#organisations'), status.organisations, (org) => org.name,
    () => one(document, '#organisation').content.firstElementChild.cloneNode(true),
    (child, org) => organisation(child, org, status));
  errors(status.errors);
}

async function ask() {
  clearTimeout(timer);
  try {
    const answer = await fetch('/api/status', {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE)});
    if (!answer.ok) throw new Error(String(answer.status));
    const status = await answer.json();
    seen = Date.now();
    document.body.classList.remove('lost');
    show(status);
  } catch {
    document.body.classList.add('lost');
    state(seen ? `No answer, last seen ${duration((Date.now() - seen) / 1000)} ago` : 'No answer', 'bad');
  }
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, EVERY);
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) ask();
});
ask();
