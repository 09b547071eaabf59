// What the stories of the line share: a queue of their own, people who join it and ask for their place, and what a place
// may never do. Stories live elsewhere.

import { Counter } from 'k6/metrics';
import { ask, operate } from './contract.js';

const positionRose = new Counter('position_rose');
const placeLost = new Counter('place_lost');

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

// A queue for this run; users of its own, so that a shop that runs already can be visited again.
export function makeQueue(story, policy) {
  const started_at = Date.now();
  const queue = `${story}-${started_at.toString(36)}`;
  operator('POST', `/admin/queues/${queue}`, policy);
  return { queue, first_user: Math.floor(started_at / 1000) * 100000, started_at };
}

export function join(line, user_id) {
  const { body } = ask(PUBLIC, { kind: 'GET /token/{userId}', path: `/token/${user_id}?queue=${line.queue}` });
  return { line, user_id, token: body.token_id, place: body };
}

// Asks for the place as one who has waited for his turn would.
export function poll(me) {
  const { status, body } = ask(PUBLIC, { kind: 'GET /queue', path: '/queue', token: me.token });
  return judged(me, status, body);
}

// Asks for a token again, as one who does not know that he has one.
export function joinAgain(me) {
  const again = join(me.line, me.user_id);
  if (again.token !== me.token) placeLost.add(1);
  return judged(me, again.token ? 200 : 0, again.place);
}

export function leave(me) {
  ask(PUBLIC, { kind: 'DELETE /queue', path: '/queue', token: me.token });
}

// Whether the answer was a place. It is never further back than the last one, and a turn never becomes a place again.
function judged(me, status, body) {
  if (status !== 200) {
    placeLost.add(1);
    return false;
  }
  if (me.place.status === 'active' && body.status === 'waiting') placeLost.add(1);
  if (body.position > me.place.position) positionRose.add(1);
  me.place = body;
  return true;
}
