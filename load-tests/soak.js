// An ordinary day, for as long as one likes: people arrive steadily, wait, some buy, all go. The end is held against the
// beginning: the server's memory has not grown beyond a bound, and answers take no longer than a few times as long. What
// is young is left out: the first fifth fills caches and connections.

import { sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Gauge } from 'k6/metrics';
import { diceOf } from './lib/chance.js';
import { ask } from './lib/contract.js';
import { audit, audited, join, leave, makeQueue, operator, poll, promises, PUBLIC, waitForTurn } from './lib/line.js';
import { charging, holding, makeConcert, paying, seatId } from './lib/shop.js';
import { slowestOfASecond } from './lib/slowest.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const MINUTES = Number(__ENV.MINUTES || (__ENV.SHORT ? 1 : 10));
const SECONDS = MINUTES * 60;
const ARRIVALS = 20;
const PEOPLE = SECONDS * ARRIVALS;
const BUYERS = 0.2;
// A seat for whoever comes; a day too long for the largest hall sells the last of it and then nothing.
const SEATS = Math.min(100000, PEOPLE + ARRIVALS);
const PRICE = 5000;
const POLICY = { rate_per_second: ARRIVALS * 1.1, burst: 1, active_max: ARRIVALS * 20 };
// The last fifth against the second, with a floor.
const MEMORY = { times: 1.2, bytes: 16 * 2 ** 20 };
const ANSWERS = { times: 3, ms: 20 };
const MEMORY_URL = __ENV.MEMORY_URL;
const SAMPLES_MIN = SECONDS / 2;

const memorySamples = new Counter('memory_samples');
const memoryBounded = new Gauge('memory_bounded');
const answersAsQuick = new Gauge('answers_as_quick');
const seatsSold = new Gauge('seats_sold');
const of = (name) => ({ early: new Gauge(`${name}_early`), late: new Gauge(`${name}_late`) });
const [memoryThen, answersThen] = [of('memory'), of('answers')];
const bought = new Counter('bought');

export const options = {
  scenarios: {
    people: {
      executor: 'constant-arrival-rate',
      exec: 'visit',
      rate: ARRIVALS,
      duration: `${SECONDS}s`,
      preAllocatedVUs: ARRIVALS * 8,
      gracefulStop: '30s',
    },
    watch: { executor: 'per-vu-iterations', exec: 'watch', vus: 1, maxDuration: `${SECONDS + 30}s` },
  },
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    dropped_iterations: ['count==0'],
    answers_as_quick: ['value==1'],
    bought: [`count>=${Math.floor(PEOPLE * BUYERS * 0.5)}`],
    // Of a server elsewhere nobody tells the memory.
    ...(MEMORY_URL ? { memory_bounded: ['value==1'], memory_samples: [`count>=${SAMPLES_MIN}`] } : {}),
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const line = makeQueue('soak', POLICY);
  // Where the one who watches waits, nobody is let in.
  const still = { ...line, queue: `${line.queue}-still` };
  operator('POST', `/admin/queues/${still.queue}`, { mode: 'paused' });
  return { ...line, still, concert_id: makeConcert(line, SEATS, PRICE) };
}

export function visit(line) {
  const index = exec.scenario.iterationInTest;
  const { between, chance } = diceOf(index + 1);
  const me = join(line, line.first_user + index + 1);
  if (!waitForTurn(me, 30)) return leave(me);
  if (chance(BUYERS)) return buy(me, index, between);
  sleep(between(0.1, 1));
  leave(me);
}

function buy(me, index, between) {
  const { status, body } = ask(PUBLIC, holding(me, me.line.concert_id, [seatId(index % SEATS)]));
  if (status !== 201) return;
  sleep(between(0.1, 2));
  ask(PUBLIC, charging(me, PRICE, `soak-${me.user_id}`));
  if (ask(PUBLIC, paying(me, body.booking_id)).status === 200) bought.add(1);
}

// Asks five times a second, and for the memory once.
export function watch(line) {
  const me = join(line.still, line.first_user);
  const [sizes, times] = [[], []];
  const began = Date.now();
  for (let round = 0; Date.now() < began + SECONDS * 1000; round += 1) {
    const part = Math.floor(((Date.now() - began) / SECONDS / 1000) * 5);
    const asked_at = Date.now();
    poll(me);
    times.push({ part, at: asked_at, ms: Date.now() - asked_at });
    if (MEMORY_URL && round % 5 === 0) {
      const { resident_bytes } = http.get(MEMORY_URL, { tags: { name: 'memory' } }).json();
      memorySamples.add(1);
      sizes.push({ part, value: resident_bytes });
    }
    sleep(0.2);
  }
  const quick = (early) => Math.max(early * ANSWERS.times, early + ANSWERS.ms);
  answersAsQuick.add(isBounded(times, slowestOfASecond, answersThen, quick));
  if (MEMORY_URL) memoryBounded.add(isBounded(sizes, median, memoryThen, (early) => early * MEMORY.times + MEMORY.bytes));
}

function median(samples) {
  const values = samples.map(({ value }) => value).sort((a, b) => a - b);
  return values[Math.floor(values.length / 2)];
}

// Whether the last fifth is within the bound that the second one sets.
function isBounded(samples, figureOf, then, bound) {
  const [early, late] = [1, 4].map((fifth) => figureOf(samples.filter(({ part }) => part === fifth)));
  then.early.add(early);
  then.late.add(late);
  return late <= bound(early) ? 1 : 0;
}

export function teardown(line) {
  seatsSold.add(operator('GET', `/admin/concerts/${line.concert_id}`).seats_sold);
  audit(line);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const then = (name, unit, digits) => ['early', 'late'].map((when) => figure(value(`${name}_${when}`, 'value') / unit, digits)).join(', ');
  const about = [
    ['The day', `${figure(MINUTES, MINUTES < 1 ? 1 : 0)} min, ${ARRIVALS} people a second`],
    ['bought, seats sold', `${figure(value('bought', 'count'))}, ${figure(value('seats_sold', 'value'))}`],
    ["the server's memory, MiB: second fifth, last fifth", MEMORY_URL ? then('memory', 2 ** 20, 1) : 'not known'],
    ['the slowest poll of a second, median ms: second fifth, last fifth', then('answers', 1)],
    ['invariants violated', figure(value('violations', 'value'))],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  const judged = MEMORY_URL ? 'in memory and in time' : 'in time; the memory was not judged';
  const promise = `the end is like the beginning, ${judged}`;
  return summary('soak', metrics, { about, size: { minutes: MINUTES }, promise });
}
