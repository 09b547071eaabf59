// The contract as a client sees it. Every request of a story goes through `ask`, and every answer is held against
// its status, type and shape; what does not fit counts as `outside_contract`. Stories live elsewhere.

import http from 'k6/http';
import { Counter } from 'k6/metrics';

const outsideContract = new Counter('outside_contract');
const serverErrors = new Counter('server_errors');

const whole = (value) => Number.isInteger(value);
const count = (value) => whole(value) && value >= 0;
const text = (value) => typeof value === 'string' && value.length > 0;
const texts = (value) => Array.isArray(value) && value.every(text);
const list = Array.isArray;
const flag = (value) => typeof value === 'boolean';
const instant = (value) => text(value) && !Number.isNaN(Date.parse(value));
const word = (...words) => (value) => words.includes(value);
const when = (condition, test) => (value, body) => !condition(body) || test(value);

const listOf = (shape) => (value) => list(value) && value.every((one) => misshapen(shape, one) === null);

const waits = (body) => body.status === 'waiting';
const moves = (body) => waits(body) && body.reason !== 'rebuilding';
const place = {
  status: word('waiting', 'active'),
  queue: text,
  position: when(moves, (value) => whole(value) && value >= 1),
  poll_after_ms: when(waits, (value) => whole(value) && value > 0),
  expires_at: when((body) => !waits(body), instant),
};
const booking = { booking_id: whole, status: word('held', 'paid', 'expired', 'cancelled'), seats: texts, amount: count };
const problem = { title: text, status: whole, detail: text, code: text, request_id: text, retryable: flag };

// What each kind of request may be answered in a story, by status: the shape of a success, the codes of a refusal.
const kinds = {
  'GET /token/{userId}': { 200: { ...place, token_id: text } },
  'GET /queue': { 200: place, 410: ['turn_ended'] },
  'DELETE /queue': { 204: null, 410: ['turn_ended'] },
  'GET /concerts/{id}': { 200: { concert_id: whole, tiers: list } },
  'GET /concerts/{id}/seats': { 200: { concert_id: whole, as_of: instant, seats: (value) => /^[AHS]+$/.test(value) } },
  'POST /booking': {
    201: { booking_result: word('HELD'), booking_id: whole, seats: texts, amount: count, expires_at: instant },
    409: ['seat_taken'],
    410: ['turn_ended'],
  },
  'GET /booking/{id}': { 200: booking },
  'DELETE /booking/{id}': { 204: null, 409: ['booking_not_held'] },
  'GET /users/{userId}/bookings': { 200: { bookings: listOf(booking) } },
  'GET /balance/{userId}': { 200: { user_id: text, balance: count } },
  'POST /balance': { 200: { user_id: text, balance: count } },
  'GET /balance/{userId}/history': { 200: { entries: list } },
  'POST /payment': {
    200: { payment_result: word('PAID'), payment_id: whole, booking_id: whole, amount: count, balance: count },
    402: ['insufficient_balance'],
    410: ['hold_expired'],
  },
};
const results = { 'POST /booking': 'booking_result', 'POST /payment': 'payment_result' };

// The kinds, for tables and thresholds.
export const kindNames = Object.keys(kinds);

// One request: `{ kind, path, token?, body?, key?, headers?, refusals? }`. `refusals` are further codes by status, where a
// story asks for what it must not get.
function request(base, { kind, path, token, body, key, headers: further }) {
  const headers = { 'Content-Type': 'application/json', ...further };
  if (token) headers['Token-Auth'] = token;
  if (key) headers['Idempotency-Key'] = key;
  return {
    method: kind.slice(0, kind.indexOf(' ')),
    url: base + path,
    body: body ? JSON.stringify(body) : null,
    params: { headers, tags: { name: kind }, timeout: '10s', redirects: 0 },
  };
}

// Sends a request and returns `{ status, code, body }`; an answer outside the contract is counted and has status 0.
export function ask(base, asked) {
  const { method, url, body, params } = request(base, asked);
  return judged(asked, http.request(method, url, body, params));
}

// Sends several requests at once.
export function askAll(base, all) {
  const responses = http.batch(all.map((asked) => request(base, asked)));
  return responses.map((response, i) => judged(all[i], response));
}

// Sends the same request several times at once.
export const askAtOnce = (base, asked, times) => askAll(base, Array.from({ length: times }, () => asked));

// Sends a request and hangs up after so many milliseconds; whether it was before the end of the answer.
export function hangUp(base, asked, ms) {
  const { method, url, body, params } = request(base, asked);
  try {
    http.request(method, url, body, { ...params, tags: { name: 'hung up' }, timeout: `${ms}ms`, throw: true });
    return false;
  } catch (_) {
    return true;
  }
}

function judged(asked, response) {
  if (response.status >= 500) serverErrors.add(1);
  let body = null;
  let fault = null;
  try {
    if (response.body) body = JSON.parse(response.body);
    fault = misfit(asked, response, body);
  } catch (error) {
    fault = `not JSON: ${error}`;
  }
  if (fault !== null) {
    outsideContract.add(1);
    const said = response.error || String(response.body).slice(0, 300);
    console.error(`outside the contract: ${asked.kind} answered ${response.status}: ${fault}: ${said}`);
    return { status: 0, code: null, body: {} };
  }
  return { status: response.status, code: response.status < 400 ? null : body.code, body };
}

// What is wrong with an answer, or null.
function misfit({ kind, refusals = {} }, response, body) {
  const allowed = refusals[response.status] || (kinds[kind] || {})[response.status];
  if (allowed === undefined) return 'the status is not foreseen';
  if (allowed === null) return body === null ? null : 'there is a body';
  const type = (response.headers['Content-Type'] || '').split(';')[0];
  if (!list(allowed)) return type === 'application/json' ? misshapen(allowed, body) : `the type is ${type}`;
  if (type !== 'application/problem+json') return `the type is ${type}`;
  if (!allowed.includes(body.code)) return `the code ${body.code} is not foreseen`;
  if (body.status !== response.status) return 'the body tells another status';
  if (body.code === 'seat_taken' && !(texts(body.taken) && body.taken.length)) return '`taken` names no seats';
  const result = results[kind];
  if (result && body[result] !== body.code) return `${result} is not the code`;
  return misshapen(problem, body);
}

function misshapen(shape, body) {
  const field = Object.keys(shape).find((name) => !shape[name](body[name], body));
  return field === undefined ? null : `\`${field}\` is ${JSON.stringify(body[field])}`;
}

// A request of an operator, as JSON in and out; anything but a 2xx ends the run.
export function operate(base, key, method, path, body) {
  const params = {
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
    tags: { name: 'operator' },
    timeout: '60s',
  };
  const response = http.request(method, base + path, body ? JSON.stringify(body) : null, params);
  if (response.status < 200 || response.status > 299) {
    throw new Error(`${method} ${path} answered ${response.status}: ${response.error || response.body}`);
  }
  return JSON.parse(response.body);
}
