// What the stories of the box office share: a concert of their own, and what a buyer does who has his turn. Each is a
// request; `ask` or `askAtOnce` sends it.

import { operator } from './line.js';

export const seatId = (index) => String(index + 1);

// A concert in the story's queue: so many seats, all at one price.
export function makeConcert(line, seats, price) {
  const { concert_id } = operator('POST', '/admin/concerts', {
    title: `The story ${line.queue}`,
    place: 'Main hall',
    starts_at: Math.floor(line.started_at / 1000) + 86400,
    queue: line.queue,
    tiers: [{ name: 'hall', price, seats: Array.from({ length: seats }, (_, index) => seatId(index)) }],
  });
  return concert_id;
}

export const holding = ({ user_id, token }, concert_id, seats, key) => ({
  kind: 'POST /booking',
  path: '/booking',
  token,
  key,
  body: { user_id, concert_id, seat_no: seats.join(',') },
});

export const cancelling = ({ token }, booking_id) => ({
  kind: 'DELETE /booking/{id}',
  path: `/booking/${booking_id}`,
  token,
});

export const charging = ({ user_id }, amount, key) => ({
  kind: 'POST /balance',
  path: '/balance',
  key,
  body: { user_id, balance: amount },
});

export const paying = ({ user_id, token }, booking_id, key) => ({
  kind: 'POST /payment',
  path: '/payment',
  token,
  key,
  body: { user_id, booking_id },
});
