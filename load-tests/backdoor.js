// Every way past the line that we could think of, each tried and refused with the documented code, while a crowd that
// waits tries to book all the time and gets a seat only when its turn has come. Ways are data: a name, the refusal, and
// the request. Who takes part is made in `cast`.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge } from 'k6/metrics';
import { ask } from './lib/contract.js';
import { WAYS } from './lib/ways.js';
import { audit, audited, join, joinAgain, leave, makeQueue, numberIn, operator, poll, promises, PUBLIC, size } from './lib/line.js';
import { charging, holding, makeConcert, paying, seatId } from './lib/shop.js';
import { allKept, answeredInTime, keptIn, rates, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const INTRUDERS = size(60, 30);
const SECONDS = 15;
// A third of the intruders is let in meanwhile.
const POLICY = { rate_per_second: INTRUDERS / 3 / SECONDS, burst: 1, active_max: INTRUDERS, claim_seconds: 600 };
const PRICE = 5000;

const PROMISES = ['refused', 'one_place_however_often', 'back_of_the_line', 'one_debit', 'untouched'];
const kept = rates(PROMISES);
const gotPast = new Counter('got_past');
const waysTried = new Counter('ways_tried');
const tooEarly = new Counter('seat_before_turn');
const inTurn = new Counter('seats_in_turn');
const toldToWait = new Counter('told_to_wait');
const seatsWithoutTurn = new Gauge('seats_without_turn');

const one = (story, vus) => ({ executor: 'per-vu-iterations', exec: story, vus, maxDuration: '60s' });
export const options = {
  scenarios: { ways: one('tryAllWays', 1), intruders: one('intrude', INTRUDERS) },
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    ...allKept(PROMISES),
    got_past: ['count==0'],
    ways_tried: [`count==${WAYS.length}`],
    seat_before_turn: ['count==0'],
    seats_without_turn: ['value==0'],
    // The crowd was there, and the line moved at its rate.
    seats_in_turn: ['count>=1', `count<=${INTRUDERS / 2}`],
    told_to_wait: [`count>=${INTRUDERS * 10}`],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const crowd = makeQueue('backdoor', POLICY);
  // Where the ways are tried, nobody is let in but by hand.
  const still = { ...crowd, queue: `${crowd.queue}-still`, first_user: crowd.first_user + 1000 };
  operator('POST', `/admin/queues/${still.queue}`, { mode: 'paused', active_max: 100, claim_seconds: 600 });
  const other = { ...crowd, queue: `${crowd.queue}-other`, first_user: crowd.first_user + 2000 };
  operator('POST', `/admin/queues/${other.queue}`, { rate_per_second: 1000 });
  const closed = { ...crowd, queue: `${crowd.queue}-closed` };
  operator('POST', `/admin/queues/${closed.queue}`, { mode: 'closed' });
  return {
    crowd: { ...crowd, concert_id: makeConcert(crowd, INTRUDERS, PRICE) },
    still: { ...still, concert_id: makeConcert(still, 20, PRICE) },
    other,
    closed,
  };
}

// One of those who wait, and do not want to.
export function intrude({ crowd }) {
  const index = exec.scenario.iterationInTest;
  const me = join(crowd, crowd.first_user + index + 1);
  const refusals = { 403: ['not_admitted'] };
  while (Date.now() < crowd.started_at + SECONDS * 1000) {
    const { status } = ask(PUBLIC, { ...holding(me, crowd.concert_id, [seatId(index)]), refusals });
    if (status === 201) {
      const { serving_number } = operator('GET', `/admin/queues/${crowd.queue}`);
      (serving_number < numberIn(me.token) ? tooEarly : inTurn).add(1);
      return;
    }
    toldToWait.add(1);
    sleep(0.1);
  }
}

export function tryAllWays({ still, other, closed }) {
  const cast = castOf(still, other, closed);
  WAYS.forEach(([name, status, code, request]) => {
    const asked = { ...request(cast), refusals: { [status]: [code] } };
    const answer = ask(asked.base || PUBLIC, asked);
    const is_refused = answer.status === status && answer.code === code;
    kept.refused.add(is_refused);
    waysTried.add(1);
    if (is_refused) return;
    gotPast.add(1);
    console.error(`got past: ${name}: ${answer.status} ${answer.code || JSON.stringify(answer.body)}, not ${status} ${code}`);
  });
  payAgain(cast.paul);
  joinOften(cast.will);
  comeBack(cast.will, cast.last);
  lookAtVictim(cast.ann);
}

// Ann holds two seats and has not paid; Paul has paid and is done; Bob has his turn and nothing else; Carl has let a hold
// go; Gus has left. Will waits, the last behind him. Olga has her turn, in another queue.
function castOf(still, other, closed) {
  const [ann, paul, bob, carl, gus] = [1, 2, 3, 4, 5].map((nth) => join(still, still.first_user + nth));
  const inside = [ann, paul, bob, carl, gus];
  operator('POST', `/admin/queues/${still.queue}/admit`, { count: inside.length });
  for (let look = 0; look < 50 && !inside.every((me) => me.place.status === 'active'); look += 1) {
    sleep(0.1);
    inside.forEach(poll);
  }
  const { concert_id } = still;
  const hold = (me, seats, key) => ask(PUBLIC, holding(me, concert_id, seats, key)).body.booking_id;
  ann.booking_id = hold(ann, ['1', '2'], 'hold of ann');
  paul.booking_id = hold(paul, ['3']);
  ask(PUBLIC, charging(paul, PRICE * 3, `purse-${paul.user_id}`));
  paul.receipt = ask(PUBLIC, paying(paul, paul.booking_id)).body;
  carl.booking_id = hold(carl, ['4']);
  ask(PUBLIC, { kind: 'DELETE /booking/{id}', path: `/booking/${carl.booking_id}`, token: carl.token });
  leave(gus);
  const will = join(still, still.first_user + 6);
  const last = join(still, still.first_user + 7);
  return { concert_id, still, closed, ann, paul, bob, carl, gus, will, last, olga: join(other, other.first_user + 1) };
}

// The payment that was heard on the wire, sent again and again.
function payAgain(paul) {
  for (let again = 0; again < 3; again += 1) {
    const { status, body } = ask(PUBLIC, paying(paul, paul.booking_id, again ? `again-${again}` : undefined));
    kept.one_debit.add(status === 200 && body.payment_id === paul.receipt.payment_id);
  }
  const { balance } = ask(PUBLIC, { kind: 'GET /balance/{userId}', path: `/balance/${paul.user_id}` }).body;
  kept.one_debit.add(balance === PRICE * 2);
}

function joinOften(will) {
  const number = numberIn(will.token);
  for (let again = 0; again < 20; again += 1) {
    const is_told = joinAgain(will) && will.place.status === 'waiting';
    kept.one_place_however_often.add(is_told && numberIn(will.place.token_id) === number);
  }
}

// Who leaves loses his place; his old token is worth nothing.
function comeBack(will, last) {
  leave(will);
  const again = join(will.line, will.user_id);
  kept.back_of_the_line.add(numberIn(again.token) > numberIn(last.token));
  const old = ask(PUBLIC, { ...holding(will, will.line.concert_id, ['9']), refusals: { 403: ['not_admitted'] } });
  kept.back_of_the_line.add(old.code === 'turn_ended' || old.code === 'not_admitted');
}

// After all of it Ann has what she had.
function lookAtVictim(ann) {
  const mine = ask(PUBLIC, { kind: 'GET /booking/{id}', path: `/booking/${ann.booking_id}`, token: ann.token });
  kept.untouched.add(mine.body.status === 'held' && String(mine.body.seats) === '1,2');
  const { seats_held, seats_sold } = operator('GET', `/admin/concerts/${ann.line.concert_id}`);
  kept.untouched.add(seats_held === 2 && seats_sold === 1);
}

export function teardown({ crowd }) {
  const { seats_held, seats_sold } = operator('GET', `/admin/concerts/${crowd.concert_id}`);
  const { admitted_total } = operator('GET', `/admin/queues/${crowd.queue}`);
  seatsWithoutTurn.add(Math.max(0, seats_held + seats_sold - admitted_total));
  audit(crowd);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['Ways past the line', `${figure(WAYS.length)} and ${PROMISES.length - 1} habits`],
    ...PROMISES.map((name) => [name.replace(/_/g, ' '), keptIn(metrics, name)]),
    ['bookings of people who wait, refused', figure(value('told_to_wait', 'count'))],
    ['seats to people in their turn, before it', `${figure(value('seats_in_turn', 'count'))}, ${value('seat_before_turn', 'count')}`],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('backdoor', metrics, { about, size: { people: INTRUDERS }, promise: 'there is no way past the line' });
}
