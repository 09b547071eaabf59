// Does it pay to ask often? People line up, every other of them eager: the eager ones ask as often as they can, for the
// place and for a token, the others every few seconds only. All are played by one, who remembers: once a number has been
// seen inside, no lower one may be told to wait any more. In the middle of the line the music stops, and as many of the
// one sort are inside as of the other.

import { sleep } from 'k6';
import { Counter, Gauge } from 'k6/metrics';
import { askAll } from './lib/contract.js';
import { asking, audit, audited, join, joining, judge, makeQueue, numberIn, operator, promises, PUBLIC, size } from './lib/line.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const PEOPLE = size(300, 120);
const SECONDS = 25;
// Two thirds of them are let in.
const RATE = (PEOPLE * 2) / 3 / SECONDS;
const RARE_SECONDS = 5;
const POLICY = { mode: 'paused', rate_per_second: RATE, burst: 1, active_max: PEOPLE, claim_seconds: 600, session_seconds: 600 };

const overtaken = new Counter('overtaken');
const outOfOrder = new Counter('numbers_out_of_order');
const asked = { eager: new Counter('asked_eager'), rare: new Counter('asked_rare') };
const inside = { eager: new Gauge('inside_eager'), rare: new Gauge('inside_rare') };
const insideAll = new Gauge('inside_all');
const eagerAhead = new Gauge('eager_ahead');
const eagerTimes = new Gauge('eager_times');

export const options = {
  scenarios: { line: { executor: 'per-vu-iterations', exec: 'play', vus: 1, maxDuration: '90s' } },
  batch: 30,
  batchPerHost: 30,
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    overtaken: ['count==0'],
    numbers_out_of_order: ['count==0'],
    // They stand alternately: of a whole number of admissions, one sort has at most one more.
    eager_ahead: ['value<=1'],
    inside_all: [`value>=${PEOPLE / 3}`, `value<${PEOPLE}`],
    // They were eager: so many times as often as the others.
    eager_times: ['value>=4'],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return makeQueue('queue-fairness', POLICY);
}

export function play(line) {
  const people = Array.from({ length: PEOPLE }, (_, index) => {
    const me = join(line, line.first_user + index + 1);
    const sort = index % 2 ? 'rare' : 'eager';
    // The others do not ask all at once.
    return { ...me, number: numberIn(me.token), sort, asks_at: Date.now() + (index % 10) * RARE_SECONDS * 100 };
  });
  people.forEach((me, index) => index && me.number <= people[index - 1].number && outOfOrder.add(1));
  operator('PUT', `/admin/queues/${line.queue}/policy`, { mode: 'open' });
  const until = Date.now() + SECONDS * 1000;
  const waiting = () => people.filter(({ place }) => place.status !== 'active');
  let highest = 0;
  const sum = { eager: 0, rare: 0 };
  for (let round = 0; Date.now() < until; round += 1) {
    const now = Date.now();
    const asks = waiting().filter((me) => me.sort === 'eager' || now >= me.asks_at);
    asks.forEach((me) => {
      sum[me.sort] += 1;
      me.asks_at = now + RARE_SECONDS * 1000;
    });
    highest = look(asks, highest, round % 4 === 3);
    sleep(0.02);
  }
  eagerTimes.add(sum.eager / Math.max(1, sum.rare));
  stop(line, people, highest);
}

// Asks for everybody of a round at once. What was seen inside before the round, was inside before its first request.
function look(people, highest, by_joining) {
  const request = (me) => (by_joining && me.sort === 'eager' ? joining(me.line, me.user_id) : asking(me));
  const answers = askAll(PUBLIC, people.map(request));
  people.forEach((me, i) => {
    asked[me.sort].add(1);
    judge(me, answers[i]);
    if (me.place.status === 'waiting' && me.number < highest) overtaken.add(1);
  });
  return Math.max(highest, ...people.filter(({ place }) => place.status === 'active').map(({ number }) => number));
}

// Nobody more is let in, and everybody looks, the last one first: who is inside before whom would show.
function stop(line, people, highest) {
  operator('PUT', `/admin/queues/${line.queue}/policy`, { mode: 'paused' });
  sleep(2);
  const seen = [...people].reverse().reduce((so_far, me) => look([me], so_far, false), highest);
  const count = (sort) => people.filter((me) => me.sort === sort && me.place.status === 'active').length;
  if (people.some(({ number, place }) => (place.status === 'active') !== (number <= seen))) overtaken.add(1);
  inside.eager.add(count('eager'));
  inside.rare.add(count('rare'));
  insideAll.add(count('eager') + count('rare'));
  eagerAhead.add(Math.abs(count('eager') - count('rare')));
}

export function teardown(line) {
  audit(line);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const both = (name, stat) => `${figure(value(`${name}_eager`, stat))}, ${figure(value(`${name}_rare`, stat))}`;
  const about = [
    ['The line', `${figure(PEOPLE)} people, ${figure(RATE, 1)} turns a second`],
    ['asked: the eager, the others', both('asked', 'count')],
    ['inside in the end: of the eager, of the others', both('inside', 'value')],
    ['overtaken, numbers out of order', `${value('overtaken', 'count')}, ${value('numbers_out_of_order', 'count')}`],
    ['places that moved back, places lost', `${value('position_rose', 'count')}, ${value('place_lost', 'count')}`],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('queue-fairness', metrics, { about, size: { people: PEOPLE }, promise: 'numbers were let in in their order, and asking often won nothing' });
}
