// What the stories of the line share: a queue of their own, people who join it and ask for their place, and what a place
// may never do. Stories live elsewhere.

import { sleep } from 'k6';
import encoding from 'k6/encoding';
import { Counter, Gauge } from 'k6/metrics';
import { ask, operate } from './contract.js';

const positionRose = new Counter('position_rose');
const placeLost = new Counter('place_lost');
const violations = new Gauge('violations');

export const PUBLIC = __ENV.USHER_URL;
export const operator = (method, path, body) =>
  operate(__ENV.USHER_ADMIN_URL, __ENV.USHER_ADMIN_KEY, method, path, body);

// Thresholds of every story of the line.
export const promises = {
  position_rose: ['count==0'],
  place_lost: ['count==0'],
  outside_contract: ['count==0'],
  server_errors: ['count==0'],
};

// As many people as were asked for, else as many as the long or the short form of a story has.
export const size = (long, short) => Number(__ENV.BUYERS || (__ENV.SHORT ? short : long));

// Thresholds of a story that ends with `audit`.
export const audited = { violations: ['value==0'] };

// What the operators' check finds; the queue's own figures are for the story.
export function audit({ queue }) {
  const check = operator('GET', '/admin/check');
  const failed = check.checks.filter((one) => one.violations > 0);
  failed.forEach((one) => console.error(`violated ${one.violations} times: ${one.id}: ${one.what}`));
  violations.add(check.ok ? failed.length : Math.max(1, failed.length));
  return check.queues.find((one) => one.name === queue);
}

// A queue for this run; users of its own, so that a shop that runs already can be visited again.
export function makeQueue(story, policy) {
  const started_at = Date.now();
  const queue = `${story}-${started_at.toString(36)}`;
  operator('POST', `/admin/queues/${queue}`, policy);
  return { queue, first_user: Math.floor(started_at / 1000) * 100000, started_at };
}

export const joining = (line, user_id) => ({
  kind: 'GET /token/{userId}',
  path: `/token/${user_id}?queue=${line.queue}`,
});
export const asking = (me) => ({ kind: 'GET /queue', path: '/queue', token: me.token });

export function join(line, user_id) {
  const { body } = ask(PUBLIC, joining(line, user_id));
  return { line, user_id, token: body.token_id, place: body };
}

// The queue number that a token proves. Buyers have no use for it; a story holds numbers against each other.
export const numberIn = (token) => JSON.parse(encoding.b64decode(token.split('.')[1], 'rawurl', 's')).seq;

// As the how-manieth he came: a number is the epoch, shifted by 40, and 2^39 + n.
export const arrivalIn = (token) => numberIn(token) % 2 ** 39;

// Asks for the place as one who has waited for his turn would.
export const poll = (me) => judge(me, ask(PUBLIC, asking(me)));

// Asks for a token again, as one who does not know that he has one.
export function joinAgain(me) {
  const again = join(me.line, me.user_id);
  if (again.token !== me.token) placeLost.add(1);
  return judge(me, { status: again.token ? 200 : 0, body: again.place });
}

// Waits as told; whether the turn has come.
export function waitForTurn(me, seconds) {
  const until = Date.now() + seconds * 1000;
  while (me.place.status === 'waiting' && Date.now() < until) {
    sleep(Math.max(0.001, Math.min(me.place.poll_after_ms, until - Date.now()) / 1000));
    if (!poll(me)) return false;
  }
  return me.place.status === 'active';
}

export function leave(me) {
  ask(PUBLIC, { kind: 'DELETE /queue', path: '/queue', token: me.token });
}

// Whether the answer was a place. It is never further back than the last one, and a turn never becomes a place again.
export function judge(me, { status, body }) {
  if (status !== 200) {
    placeLost.add(1);
    return false;
  }
  if (me.place.status === 'active' && body.status === 'waiting') placeLost.add(1);
  if (body.position > me.place.position) positionRose.add(1);
  me.place = body;
  return true;
}
