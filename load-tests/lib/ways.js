// The ways past the line: a name, the status and code that must answer it, and the request, made of the cast that
// `backdoor.js` describes. A new one is a new row.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { joining } from './line.js';
import { cancelling, charging, holding, paying } from './shop.js';

const words = (token) => token.split('.');
const read = (part) => JSON.parse(encoding.b64decode(part, 'rawurl', 's'));
const written = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');

// The token with other claims or another header, and the signature that it had.
function changed(token, claims, header = {}) {
  const [head, body, signature] = words(token);
  return [written({ ...read(head), ...header }), written({ ...read(body), ...claims }), signature].join('.');
}

// The same, signed with a key that is not the server's.
function forged(token, claims = {}) {
  const message = words(changed(token, claims)).slice(0, 2).join('.');
  return `${message}.${crypto.hmac('sha256', 'not the key of the server', message, 'base64rawurl')}`;
}

const unsigned = (token) => `${words(changed(token, {}, { alg: 'none' })).slice(0, 2).join('.')}.`;

// A booking of a free seat with this token, as the one who waits.
const booking = (make) => (cast) => holding({ user_id: cast.will.user_id, token: make(cast) }, cast.concert_id, ['10']);
const admitting = ({ still }, key, base) => ({
  kind: 'POST /admin/queues/{name}/admit',
  path: `/admin/queues/${still.queue}/admit`,
  body: { count: 1 },
  headers: key ? { Authorization: `Bearer ${key}` } : {},
  base,
});

export const WAYS = [
  // A token that is none, or not genuine.
  ['no token', 401, 'token_missing', booking(() => undefined)],
  ['words that are no token', 401, 'token_malformed', booking(() => 'let-me-in')],
  ['a token of three words', 401, 'token_malformed', booking(() => 'let.me.in!')],
  ['a forged token', 401, 'token_invalid', booking(({ will }) => forged(will.token))],
  ['a forged token of the front', 401, 'token_invalid', booking(({ ann, will }) => forged(ann.token, { sub: String(will.user_id) }))],
  ['the number changed', 401, 'token_invalid', booking(({ ann, will }) => changed(will.token, { seq: read(words(ann.token)[1]).seq }))],
  ['the user changed', 401, 'token_invalid', booking(({ bob, will }) => changed(bob.token, { sub: String(will.user_id) }))],
  ['the queue changed', 401, 'token_invalid', booking(({ olga, will }) => changed(olga.token, { aud: read(words(will.token)[1]).aud }))],
  ['the life prolonged', 401, 'token_invalid', booking(({ will }) => changed(will.token, { exp: read(words(will.token)[1]).exp + 86400 }))],
  ['alg none, no signature', 401, 'token_invalid', booking(({ bob }) => unsigned(bob.token))],
  ['alg none, the old signature', 401, 'token_invalid', booking(({ bob }) => changed(bob.token, {}, { alg: 'none' }))],
  ['alg HS512', 401, 'token_invalid', booking(({ bob }) => changed(bob.token, {}, { alg: 'HS512' }))],
  ['another key id', 401, 'token_invalid', booking(({ bob }) => changed(bob.token, {}, { kid: '../../dev/null' }))],
  ['another type', 401, 'token_invalid', booking(({ bob }) => changed(bob.token, {}, { typ: 'JWT' }))],
  ['the signature of another token', 401, 'token_invalid', booking(({ will, bob }) => [...words(will.token).slice(0, 2), words(bob.token)[2]].join('.'))],
  ['the token in the query', 401, 'token_missing', (cast) => ({ ...booking(() => undefined)(cast), path: `/booking?token=${cast.bob.token}` })],
  ['the token as a cookie', 401, 'token_missing', (cast) => ({ ...booking(() => undefined)(cast), headers: { Cookie: `usher_token=${cast.bob.token}` } })],
  ['the token as an identity', 401, 'token_missing', (cast) => ({ ...booking(() => undefined)(cast), headers: { Authorization: `Bearer ${cast.bob.token}` } })],
  // A genuine token that is not for this.
  ['a token that waits', 403, 'not_admitted', booking(({ will }) => will.token)],
  ['a token of another queue', 403, 'wrong_queue', ({ olga, concert_id }) => holding(olga, concert_id, ['10'])],
  ["another user's token", 403, 'user_mismatch', booking(({ bob }) => bob.token)],
  ['one who waits, in the name of one inside', 403, 'user_mismatch', ({ will, bob, concert_id }) => holding({ ...bob, token: will.token }, concert_id, ['10'])],
  ['the token of one who left', 410, 'turn_ended', ({ gus, concert_id }) => holding(gus, concert_id, ['10'])],
  ['the token of one who has paid', 410, 'turn_ended', ({ paul, concert_id }) => holding(paul, concert_id, ['10'])],
  ['the key of a hold that was accepted', 403, 'not_admitted', ({ will, concert_id }) => holding(will, concert_id, ['1', '2'], 'hold of ann')],
  ['a queue that is closed', 403, 'queue_closed', ({ closed, will }) => joining(closed, will.user_id)],
  // Seats, from inside.
  ["a seat of somebody else's hold", 409, 'seat_taken', ({ bob, concert_id }) => holding(bob, concert_id, ['2'])],
  ['a free seat and a held one', 409, 'seat_taken', ({ bob, concert_id }) => holding(bob, concert_id, ['10', '1'])],
  ['a seat that is sold', 409, 'seat_taken', ({ bob, concert_id }) => holding(bob, concert_id, ['3'])],
  ['a seat that does not exist', 404, 'seat_not_found', ({ bob, concert_id }) => holding(bob, concert_id, ['21'])],
  ['the same seat twice', 422, 'duplicate_seat', ({ bob, concert_id }) => holding(bob, concert_id, ['10', '10'])],
  ['more seats than are allowed', 422, 'too_many_seats', ({ bob, concert_id }) => holding(bob, concert_id, '5,6,7,8,9,10,11,12,13'.split(','))],
  // Bookings and money of others.
  ["paying another's booking", 404, 'booking_not_found', ({ bob, ann }) => paying(bob, ann.booking_id)],
  ["paying another's booking in his name", 403, 'user_mismatch', ({ bob, ann }) => paying({ ...ann, token: bob.token }, ann.booking_id)],
  ['paying without a token', 401, 'token_missing', ({ ann }) => paying({ user_id: ann.user_id }, ann.booking_id)],
  ['paying with a forged token', 401, 'token_invalid', ({ ann }) => paying({ ...ann, token: forged(ann.token) }, ann.booking_id)],
  ['paying with an empty purse', 402, 'insufficient_balance', ({ ann }) => paying(ann, ann.booking_id)],
  ['paying a hold that was let go', 409, 'booking_not_held', ({ carl }) => paying(carl, carl.booking_id)],
  ['paying what does not exist', 404, 'booking_not_found', ({ bob }) => paying(bob, 2 ** 52)],
  ["reading another's booking", 404, 'booking_not_found', ({ bob, ann }) => ({ ...cancelling(bob, ann.booking_id), kind: 'GET /booking/{id}' })],
  ["cancelling another's hold", 404, 'booking_not_found', ({ bob, ann }) => cancelling(bob, ann.booking_id)],
  ['cancelling what is paid', 409, 'booking_not_held', ({ paul }) => cancelling(paul, paul.booking_id)],
  ['less than nothing into the purse', 422, 'invalid_amount', ({ bob }) => charging(bob, -1, 'below')],
  ['nothing into the purse', 422, 'invalid_amount', ({ bob }) => charging(bob, 0, 'nothing')],
  // The operators' door.
  ["operators' requests in public", 404, 'not_found', (cast) => admitting(cast, __ENV.USHER_ADMIN_KEY)],
  ["operators' requests without a key", 401, 'unauthenticated', (cast) => admitting(cast, undefined, __ENV.USHER_ADMIN_URL)],
  ["operators' requests with a wrong key", 401, 'unauthenticated', (cast) => admitting(cast, 'let-me-in', __ENV.USHER_ADMIN_URL)],
  ["operators' requests with a queue token", 401, 'unauthenticated', (cast) => admitting(cast, cast.bob.token, __ENV.USHER_ADMIN_URL)],
];
