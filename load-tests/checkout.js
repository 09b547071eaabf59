// Buyers whose finger slips: every hold, top-up, payment and cancellation is sent several times at once, and the payment
// again afterwards. Each is one hold, one charge, one debit, one receipt; what each buyer has bought and paid is held
// against his lists, and the whole against the operators' check. Who keeps his seats is settled beforehand, so that it is
// known how many have to be sold.

import exec from 'k6/execution';
import { Counter, Gauge } from 'k6/metrics';
import { ask, askAtOnce } from './lib/contract.js';
import { audit, audited, join, makeQueue, operator, promises, PUBLIC, size, waitForTurn } from './lib/line.js';
import { cancelling, charging, holding, makeConcert, paying, seatId } from './lib/shop.js';
import { allKept, answeredInTime, keptIn, rates, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const BUYERS = size(400, 100);
const PRICE = 5000;
const SEATS_EACH = 2;
const CLICKS = 3;
const POLICY = { rate_per_second: 100, active_max: BUYERS };
// What a buyer does is his number's remainder by this: the first changes his mind and goes without seats.
const KINDS = 4;
const [GOES, HOLDS_AGAIN, COMES_WITHOUT_MONEY] = [0, 1, 2];
const STAY = BUYERS - Math.ceil(BUYERS / KINDS);

const PROMISES = ['held_once', 'cancelled_once', 'charged_once', 'refused_without_money', 'paid_once', 'paid_for_good', 'lists_agree'];
const kept = rates(PROMISES);
const bought = new Counter('bought');
const seatsSold = new Gauge('seats_sold');
const seatsHeld = new Gauge('seats_held');

export const options = {
  scenarios: {
    buyers: { executor: 'shared-iterations', exec: 'buy', vus: Math.min(BUYERS, 40), iterations: BUYERS, maxDuration: '90s' },
  },
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    ...allKept(PROMISES),
    bought: [`count==${STAY}`],
    seats_sold: [`value==${STAY * SEATS_EACH}`],
    seats_held: ['value==0'],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const line = makeQueue('checkout', POLICY);
  return { ...line, concert_id: makeConcert(line, BUYERS * SEATS_EACH, PRICE) };
}

const clicked = (request) => askAtOnce(PUBLIC, request, CLICKS);
const alike = (answers, status, field) =>
  answers.every((answer) => answer.status === status && answer.body[field] === answers[0].body[field]);

const sorted = (seats) => String([...seats].sort());

export function buy(line) {
  const index = exec.scenario.iterationInTest;
  const me = join(line, line.first_user + index + 1);
  if (!waitForTurn(me, 60)) return;
  me.seats = [seatId(index * SEATS_EACH), seatId(index * SEATS_EACH + 1)];
  // Every other buyer names his intentions; without a key the request itself has to be enough.
  me.key = (intention) => (index % 8 < KINDS ? `${intention}-${me.user_id}` : undefined);
  const kind = index % KINDS;
  let booking_id = hold(me, 'hold');
  if (kind === GOES || kind === HOLDS_AGAIN) {
    const answers = clicked(cancelling(me, booking_id));
    kept.cancelled_once.add(answers.every(({ status }) => status === 204));
    if (kind === GOES) return;
    booking_id = hold(me, 'hold again');
  }
  pay(me, booking_id, kind === COMES_WITHOUT_MONEY);
}

function hold(me, intention) {
  const answers = clicked(holding(me, me.line.concert_id, me.seats, me.key(intention)));
  kept.held_once.add(alike(answers, 201, 'booking_id'));
  return answers[0].body.booking_id;
}

function pay(me, booking_id, without_money) {
  const amount = PRICE * SEATS_EACH;
  // Enough to be debited once more for each click: it would show.
  const left = amount * CLICKS + 1 + (me.user_id % 100);
  const payment = paying(me, booking_id, me.key('pay'));
  if (without_money) kept.refused_without_money.add(ask(PUBLIC, payment).code === 'insufficient_balance');
  // Money that is put in twice without a key is put in twice: here there is always one.
  const charges = clicked(charging(me, amount + left, `charge-${me.user_id}`));
  kept.charged_once.add(charges.every(({ body }) => body.balance === amount + left));
  const payments = [...clicked(payment), ask(PUBLIC, payment)];
  kept.paid_once.add(alike(payments, 200, 'payment_id') && payments.every(({ body }) => body.balance === left));
  kept.paid_for_good.add(ask(PUBLIC, cancelling(me, booking_id)).code === 'booking_not_held');
  kept.lists_agree.add(listsAgree(me, { booking_id, amount, left }));
  bought.add(1);
}

// One receipt, one purchase, one top-up, and what is left.
function listsAgree(me, { booking_id, amount, left }) {
  const read = (kind, path) => ask(PUBLIC, { kind, path }).body;
  const { bookings } = read('GET /users/{userId}/bookings', `/users/${me.user_id}/bookings`);
  const { entries } = read('GET /balance/{userId}/history', `/balance/${me.user_id}/history`);
  const { balance } = read('GET /balance/{userId}', `/balance/${me.user_id}`);
  const paid = (bookings || []).filter(({ status }) => status === 'paid');
  const moved = (entries || []).map((entry) => `${entry.type} ${entry.amount} ${entry.balance_after}`);
  const receipt = paid.length === 1 && paid[0].booking_id === booking_id && sorted(paid[0].seats) === sorted(me.seats);
  return receipt && balance === left && String(moved) === `purchase ${amount} ${left},topup ${amount + left} ${amount + left}`;
}

export function teardown(line) {
  const { seats_sold, seats_held } = operator('GET', `/admin/concerts/${line.concert_id}`);
  seatsSold.add(seats_sold);
  seatsHeld.add(seats_held);
  audit(line);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['The checkout', `${figure(BUYERS)} buyers, each click ${CLICKS} times at once`],
    ...PROMISES.map((name) => [name.replace(/_/g, ' '), keptIn(metrics, name)]),
    ['seats sold, still held', `${figure(value('seats_sold', 'value'))} of ${figure(STAY * SEATS_EACH)}, ${figure(value('seats_held', 'value'))}`],
    ['invariants violated', figure(value('violations', 'value'))],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('checkout', metrics, { about, size: { buyers: BUYERS }, promise: 'one hold, one debit, one receipt' });
}
