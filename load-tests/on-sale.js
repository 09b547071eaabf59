// A concert sells out to a crowd. Buyers arrive faster than they are let in; they wait as they are told, want the same
// front seats, pay, pay twice, or walk away at every step. What they leave is sold to the last who still ask. The sale
// is then audited, from the outside by the buyers' receipts and from the inside by the operators' check; everything
// that has to hold is a threshold below. k6 buyers share no memory: what concerns several of them is a metric.

import { sleep } from 'k6';
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import { diceOf, mark, total } from './lib/chance.js';
import { ask, askAtOnce } from './lib/contract.js';
import { audit, audited, operator, PUBLIC, size } from './lib/line.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

// The size of the crowd scales everything else.
const BUYERS = size(5000, 300);
const FULL_SIZE = BUYERS >= 5000;
const ARRIVAL_SECONDS = FULL_SIZE ? Math.ceil((BUYERS * 60) / 5000) : 15;
const VUS = 1500;
const LAST_BUYERS = 30;
const SEATS = Math.max(20, Math.round(BUYERS / 5));
const SEATS_WANTED_MAX = 4;
const RATE = Math.round((SEATS * 18) / ARRIVAL_SECONDS) / 10;
// A small hall is sold before the rate has filled a large cap: there the cap holds the line from the first seconds.
const ACTIVE_MAX = Math.ceil(RATE * (FULL_SIZE ? 3 : 1));
const DEADLINE_SECONDS = ARRIVAL_SECONDS + 100;
const POLICY = {
  rate_per_second: RATE,
  burst: 1, // so that a lull leaves nothing behind that would blur the measured rate
  active_max: ACTIVE_MAX,
  session_seconds: 20,
  claim_seconds: 8,
  hold_seconds: 12,
  seats_per_booking_max: SEATS_WANTED_MAX,
};
const TIERS = [
  { name: 'front', price: 15000, share: 0.1 },
  { name: 'middle', price: 9900, share: 0.5 },
  { name: 'back', price: 6600, share: 1 },
];
// From this arrival on buyers take their time, until the cap holds the line rather than the rate.
const SLOW_FROM = BUYERS * 0.08;
// Who walks away, and which part of them without a word. Places in line are left without a word by early arrivals
// only: their turns come up, stay unclaimed and give their credit back while the rate is measured, and they do not
// block the last seats, for which no more people are let in than there are seats.
const WALK_AWAY = { joined: 0.04, active: 0.03, held: 0.04 };
const WITHOUT_A_WORD = { joined: 0.5, waiting: 0.3, active: 0.5, held: 0.5 };
const EARLY = BUYERS * 0.1;
// Measured turns from which one turn more or less is well below one per cent.
const MEASURED_MIN = 150;

const seatId = (index) => String(index + 1);
const tierOf = (index) => TIERS.find((tier) => index < Math.round(tier.share * SEATS));
const everySeat = (of) => Array.from({ length: SEATS }, (_, index) => of(index));
// Receipts of every seat once, and only they, have this many seats, this price and (but for one chance in millions)
// this sum of marks: two receipts for one seat would show, even if another seat had none.
const [ALL_MARKS, ALL_MONEY] = new SharedArray('sums', () => [
  total(everySeat((index) => mark(seatId(index)))),
  total(everySeat((index) => tierOf(index).price)),
]);

const seatsReceived = new Counter('seats_received');
const marksReceived = new Counter('marks_received');
const moneyPaid = new Counter('money_paid');
const bookingsPaid = new Counter('bookings_paid');
const conflicts = new Counter('seats_contested');
const walkedAway = new Counter('walked_away');
const positionRose = new Counter('position_rose');
const debitedOnce = new Rate('debited_once');
const paidTwiceAlike = new Rate('paid_twice_alike');
const activeTurns = new Trend('active_turns');
const waitingPeople = new Trend('waiting_people');
const measuredTurns = new Counter('measured_turns');
const measuredSeconds = new Counter('measured_seconds');
const rateKept = new Gauge('rate_kept');
const seatsSold = new Gauge('seats_sold');
const activePeak = new Gauge('active_peak');
const admitted = new Gauge('admitted');
const unclaimed = new Gauge('unclaimed');

const lastVus = Math.min(LAST_BUYERS, BUYERS);
export const options = {
  scenarios: {
    crowd: {
      executor: 'constant-arrival-rate',
      exec: 'buy',
      rate: BUYERS,
      timeUnit: `${ARRIVAL_SECONDS}s`,
      duration: `${ARRIVAL_SECONDS}s`,
      preAllocatedVUs: Math.min(VUS - lastVus - 1, BUYERS),
      gracefulStop: '90s',
    },
    last: {
      executor: 'per-vu-iterations',
      exec: 'buyWhatIsLeft',
      vus: lastVus,
      startTime: `${ARRIVAL_SECONDS}s`,
      maxDuration: `${DEADLINE_SECONDS}s`,
    },
    monitor: { executor: 'per-vu-iterations', exec: 'watch', vus: 1, maxDuration: `${DEADLINE_SECONDS + 60}s` },
  },
  thresholds: {
    seats_sold: [`value==${SEATS}`],
    seats_received: [`count==${SEATS}`],
    marks_received: [`count==${ALL_MARKS}`],
    money_paid: [`count==${ALL_MONEY}`],
    debited_once: ['rate==1'],
    paid_twice_alike: ['rate==1'],
    ...audited,
    active_turns: [`max<=${ACTIVE_MAX}`],
    active_peak: [`value<=${ACTIVE_MAX}`],
    rate_kept: ['value==1'],
    measured_turns: [`count>=${FULL_SIZE ? MEASURED_MIN : 0}`],
    position_rose: ['count==0'],
    outside_contract: ['count==0'],
    server_errors: ['count==0'],
    dropped_iterations: ['count==0'],
    iterations: [`count>=${BUYERS + lastVus + 1}`],
    ...answeredInTime,
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
  setupTimeout: '60s',
  teardownTimeout: '120s',
};

export function setup() {
  const started_at = Date.now();
  const queue = `on-sale-${started_at.toString(36)}`;
  operator('POST', `/admin/queues/${queue}`, POLICY);
  const tiers = TIERS.map(({ name, price }) => ({
    name,
    price,
    seats: everySeat((index) => index).filter((index) => tierOf(index).name === name).map(seatId),
  }));
  const sale = { title: 'The rush', place: 'Main hall', starts_at: Math.floor(started_at / 1000) + 86400, queue, tiers };
  const { concert_id } = operator('POST', '/admin/concerts', sale);
  // Users of their own, so that a shop that runs already can be visited again.
  return { queue, concert_id, first_user: Math.floor(started_at / 1000) * 10000, started_at };
}

// One of the crowd.
export function buy(sale) {
  const index = exec.scenario.iterationInTest;
  const me = person(sale, sale.first_user + index + 1);
  me.slow = index >= SLOW_FROM;
  me.early = index < EARLY;
  join(me);
  if (me.chance(WALK_AWAY.joined)) return goAway(me, 'joined');
  if (!waitForTurn(me, Date.now() + me.between(8000, 20000))) return;
  if (me.chance(WALK_AWAY.active)) return goAway(me, 'active');
  shop(me, me.chance(WALK_AWAY.held));
}

// Those who ask until nothing is left, each time as another user.
export function buyWhatIsLeft(sale) {
  const deadline = sale.started_at + DEADLINE_SECONDS * 1000;
  for (let visit = 1; Date.now() < deadline; visit += 1) {
    const me = person(sale, sale.first_user + BUYERS + exec.scenario.iterationInTest * 100 + visit);
    join(me);
    if (!waitForTurn(me, deadline)) return;
    shop(me, false);
    sleep(0.2);
  }
}

// A person with dice of his own: the same number behaves alike in every run.
function person(sale, user_id) {
  return { sale, user_id, slow: false, early: false, token: '', place: {}, ...diceOf(user_id - sale.first_user) };
}

function join(me) {
  const answer = ask(PUBLIC, { kind: 'GET /token/{userId}', path: `/token/${me.user_id}?queue=${me.sale.queue}` });
  me.token = answer.body.token_id;
  me.place = answer.body;
}

// Polls as told until it is this person's turn; false when he left without one.
function waitForTurn(me, patience_ends_at) {
  while (me.place.status !== 'active') {
    if (!me.place.status) return false;
    if (me.place.reason === 'sold_out') return leave(me);
    const patience = patience_ends_at - Date.now();
    if (patience <= 0) return goAway(me, 'waiting');
    sleep(Math.min(me.place.poll_after_ms, patience) / 1000);
    const { status, body } = ask(PUBLIC, { kind: 'GET /queue', path: '/queue', token: me.token });
    if (status === 410) {
      join(me); // came too late for the turn, and lines up again
    } else {
      if (body.position > me.place.position) positionRose.add(1);
      me.place = body;
    }
  }
  return true;
}

function leave(me) {
  ask(PUBLIC, { kind: 'DELETE /queue', path: '/queue', token: me.token });
  return false;
}

function goAway(me, step) {
  walkedAway.add(1);
  const silently = me.chance(WITHOUT_A_WORD[step]) && (step === 'active' || me.early);
  if (!silently) leave(me);
  return false;
}

// Holds seats and pays for them, unless this person is one who thinks better of it.
function shop(me, walks_away) {
  const { concert_id } = me.sale;
  const hall = ask(PUBLIC, { kind: 'GET /concerts/{id}', path: `/concerts/${concert_id}` });
  if (hall.status !== 200) return;
  const booking = hold(me);
  if (!booking) return leave(me);
  if (walks_away) {
    walkedAway.add(1);
    if (me.chance(WITHOUT_A_WORD.held)) return;
    ask(PUBLIC, { kind: 'DELETE /booking/{id}', path: `/booking/${booking.booking_id}`, token: me.token });
    return leave(me);
  }
  think(me);
  pay(me, booking);
}

// A moment, or the longer moment of people who take their time.
function think(me) {
  sleep(me.between(0.2, 0.8) + (me.slow ? me.between(1, 3) : 0));
}

// A booking of one to four seats, or null when there are none to be had or the turn is over.
function hold(me) {
  const wanted = Math.ceil(me.dice() * SEATS_WANTED_MAX);
  const { concert_id } = me.sale;
  for (let look = 0; look < 4; look += 1) {
    const hall = ask(PUBLIC, { kind: 'GET /concerts/{id}/seats', path: `/concerts/${concert_id}/seats` });
    if (hall.status !== 200) return null;
    let free = [];
    for (let index = 0; index < SEATS; index += 1) if (hall.body.seats[index] === 'A') free.push(seatId(index));
    if (!free.length && !hall.body.seats.includes('H')) return null;
    if (look === 0 || !free.length) think(me);
    for (let attempt = 0; attempt < 3 && free.length; attempt += 1) {
      // Everybody wants to sit in front: the cube of a die is mostly small.
      const from = Math.floor(me.dice() ** 3 * Math.max(1, free.length - wanted + 1));
      const seats = free.slice(from, from + wanted);
      const body = { user_id: me.user_id, concert_id, seat_no: seats.join(',') };
      const answer = ask(PUBLIC, { kind: 'POST /booking', path: '/booking', token: me.token, body });
      if (answer.status === 201) return answer.body;
      if (answer.status !== 409) return null;
      conflicts.add(1);
      free = free.filter((seat) => !answer.body.taken.includes(seat));
    }
  }
  return null;
}

function pay(me, { booking_id, amount, seats }) {
  const body = { user_id: me.user_id, booking_id };
  const payment = { kind: 'POST /payment', path: '/payment', token: me.token, body };
  if (me.chance(0.05)) ask(PUBLIC, payment); // with an empty purse
  // Enough to be debited for each time: it would show.
  const purse = amount * 4 + Math.floor(me.between(0, 5000));
  const charge = { user_id: me.user_id, balance: purse };
  ask(PUBLIC, { kind: 'POST /balance', path: '/balance', body: charge, key: `rush-${booking_id}` });
  const answers = me.chance(0.2) ? askAtOnce(PUBLIC, payment, 2) : [ask(PUBLIC, payment)];
  if (me.chance(0.05)) answers.push(ask(PUBLIC, payment)); // and again, the answer having been lost
  const paid = answers.filter((answer) => answer.status === 200);
  if (answers.length > 1) {
    const alike = answers.every(({ status, body: { payment_id } }) =>
      status === answers[0].status && payment_id === answers[0].body.payment_id);
    paidTwiceAlike.add(alike);
  }
  if (!paid.length) return;
  const left = ask(PUBLIC, { kind: 'GET /balance/{userId}', path: `/balance/${me.user_id}` });
  debitedOnce.add([...paid, left].every(({ body: { balance } }) => balance === purse - amount));
  bookingsPaid.add(1);
  moneyPaid.add(amount);
  seatsReceived.add(seats.length);
  marksReceived.add(total(seats.map(mark)));
}

// Samples the queue until the sale is over, and measures the rate while it alone held the line: between samples with
// more people waiting than one tick serves, turns free and seats left. Only instants of batches are compared, so the
// figure is exact to a turn; the first batch of a stretch is left out, because a bucket that had filled may be in it.
export function watch(sale) {
  let stretch = null;
  const sum = { turns: 0, seconds: 0, said_at: 0 };
  const close = () => {
    if (stretch && stretch.base && stretch.last.at > stretch.base.at) {
      sum.turns += stretch.last.turns - stretch.base.turns;
      sum.seconds += (stretch.last.at - stretch.base.at) / 1000;
    }
    stretch = null;
  };
  while (Date.now() < sale.started_at + (DEADLINE_SECONDS + 30) * 1000) {
    const queue = operator('GET', `/admin/queues/${sale.queue}`);
    activeTurns.add(queue.active);
    waitingPeople.add(queue.waiting);
    const now = { at: Date.parse(queue.last_admitted_at), turns: queue.admitted_total - queue.unclaimed_total };
    const cap = queue.active_allowed;
    if (queue.waiting > 2 * RATE && queue.active < cap - RATE / 4 && queue.last_admitted_at) {
      if (!stretch) stretch = { first: now, base: null, last: now };
      if (!stretch.base && now.at > stretch.first.at) stretch.base = now;
      stretch.last = now;
    } else {
      close();
    }
    if (queue.unsold_seats !== null && Date.now() - sum.said_at > 5000) {
      sum.said_at = Date.now();
      console.info(`${figure((sum.said_at - sale.started_at) / 1000).padStart(4)} s: ${queue.waiting} waiting, ` +
        `${queue.active} active, ${queue.free_seats} seats free, ${queue.unsold_seats} unsold`);
    }
    if (queue.unsold_seats === 0 && Date.now() > sale.started_at + ARRIVAL_SECONDS * 1000) break;
    sleep(0.25);
  }
  close();
  measuredTurns.add(sum.turns);
  measuredSeconds.add(sum.seconds);
  // Turns are whole: a small crowd cannot be measured to one per cent.
  const allowed = Math.max(0.01 * RATE * sum.seconds, FULL_SIZE ? 0 : 2);
  rateKept.add(Math.abs(sum.turns - RATE * sum.seconds) <= allowed ? 1 : 0);
}

// The audit.
export function teardown(sale) {
  activePeak.add(audit(sale).active_peak);
  seatsSold.add(operator('GET', `/admin/concerts/${sale.concert_id}`).seats_sold);
  const queue = operator('GET', `/admin/queues/${sale.queue}`);
  admitted.add(queue.admitted_total);
  unclaimed.add(queue.unclaimed_total);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const measured = value('measured_turns', 'count') / value('measured_seconds', 'count');
  const isMeasured = value('measured_turns', 'count') >= MEASURED_MIN;
  const sale = [
    ['The sale', `${figure(BUYERS)} buyers in ${ARRIVAL_SECONDS} s`],
    ['seats sold, by the server and by receipts', `${figure(value('seats_sold', 'value'))} of ${figure(SEATS)}, ${figure(value('seats_received', 'count'))}`],
    ['bookings paid', figure(value('bookings_paid', 'count'))],
    ['bookings refused because seats were taken (409)', figure(value('seats_contested', 'count'))],
    ['buyers who walked away', figure(value('walked_away', 'count'))],
    ['most people waiting', figure(value('waiting_people', 'max'))],
    ['turns opened, of them never claimed', `${figure(value('admitted', 'value'))}, ${figure(value('unclaimed', 'value'))}`],
    ['turns a second, set and measured', `${RATE}, ${measured ? measured.toFixed(2) : '–'} over ${figure(value('measured_seconds', 'count'), 1)} s`],
    ['most turns at once, allowed and seen', `${ACTIVE_MAX}, ${figure(value('active_peak', 'value'))}`],
    ['invariants violated', figure(value('violations', 'value'))],
    ['answers outside the contract, 5xx, dropped', ['outside_contract', 'server_errors', 'dropped_iterations'].map((name) => value(name, 'count')).join(', ')],
  ];
  return summary('on-sale', metrics, {
    about: sale,
    size: { buyers: BUYERS },
    promise: `every seat sold once, every debit once, ${isMeasured ? 'rate and cap' : 'cap'} kept`,
  });
}
