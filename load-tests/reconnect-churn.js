// Nobody's connection lasts. Each request comes on a connection of its own, people hang up in the middle of a poll, of a
// join, of a stream of events, stay away for a moment and come back with their token, or without it. Each has the number
// he had, no place moves back, a turn that came meanwhile is there, and no more are inside than may be.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge } from 'k6/metrics';
import { diceOf } from './lib/chance.js';
import { ask, hangUp } from './lib/contract.js';
import {
  asking, audit, audited, join, joinAgain, joining, judge, makeQueue, numberIn, operator, poll, promises, PUBLIC, size,
} from './lib/line.js';
import { allKept, answeredInTime, keptIn, rates, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const PEOPLE = size(300, 100);
const CHURN_SECONDS = 25;
// A third of them would be let in meanwhile; the cap holds before that.
const RATE = PEOPLE / 3 / CHURN_SECONDS;
const INSIDE_MAX = Math.ceil(PEOPLE / 4);
const POLICY = { rate_per_second: RATE, burst: 1, active_max: INSIDE_MAX, claim_seconds: 600, session_seconds: 600 };
// Somebody who comes back less often than this has not been tried.
const COMEBACKS_MIN = PEOPLE * 5;

const kept = rates(['same_number']);
const comebacks = new Counter('comebacks');
const hungUp = new Counter('hung_up');
const peopleLeft = new Gauge('people_left');
const activePeak = new Gauge('active_peak');

export const options = {
  noConnectionReuse: true,
  scenarios: {
    churn: { executor: 'per-vu-iterations', exec: 'comeAndGo', vus: PEOPLE, maxDuration: `${CHURN_SECONDS + 20}s` },
  },
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    ...allKept(['same_number']),
    comebacks: [`count>=${COMEBACKS_MIN}`],
    hung_up: [`count>=${COMEBACKS_MIN / 2}`],
    people_left: [`value==${PEOPLE}`],
    active_peak: [`value==${INSIDE_MAX}`],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return makeQueue('reconnect-churn', POLICY);
}

// The ways to lose a connection, each after a few milliseconds; the server may or may not have done what was asked.
const WAYS_TO_GO = [
  (me, { between }) => hangUp(PUBLIC, asking(me), Math.ceil(between(0, 3))),
  (me, { between }) => hangUp(PUBLIC, joining(me.line, me.user_id), Math.ceil(between(0, 3))),
  (me, { between }) => hangUp(PUBLIC, { ...asking(me), kind: 'GET /queue/events', path: '/queue/events' }, Math.ceil(between(50, 600))),
];

// And to come back: with the token to the place, without it to the door, with it to the door.
const WAYS_BACK = [
  poll,
  joinAgain,
  (me) => judge(me, ask(PUBLIC, { ...joining(me.line, me.user_id), token: me.token })),
];

export function comeAndGo(line) {
  const index = exec.scenario.iterationInTest;
  const dice = diceOf(index + 1);
  const pick = (ways) => ways[Math.floor(dice.dice() * ways.length)];
  sleep(dice.between(0.001, 2));
  const me = join(line, line.first_user + index + 1);
  if (!me.token) return;
  const number = numberIn(me.token);
  while (Date.now() < line.started_at + CHURN_SECONDS * 1000) {
    if (pick(WAYS_TO_GO)(me, dice)) hungUp.add(1);
    sleep(dice.between(0.1, 1));
    if (!pick(WAYS_BACK)(me)) return;
    comebacks.add(1);
    kept.same_number.add(numberIn(me.place.token_id || me.token) === number);
  }
}

export function teardown(line) {
  const { waiting, active } = operator('GET', `/admin/queues/${line.queue}`);
  peopleLeft.add(waiting + active);
  activePeak.add(audit(line).active_peak);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['People without a lasting connection', `${figure(PEOPLE)} for ${CHURN_SECONDS} s`],
    ['hung up in the middle of an answer', figure(value('hung_up', 'count'))],
    ['came back, with the same number', keptIn(metrics, 'same_number')],
    ['people in line or inside at the end', figure(value('people_left', 'value'))],
    ['inside at once, allowed and most', `${figure(INSIDE_MAX)}, ${figure(value('active_peak', 'value'))}`],
    ['places that moved back, places lost', `${value('position_rose', 'count')}, ${value('place_lost', 'count')}`],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('reconnect-churn', metrics, { about, size: { people: PEOPLE }, promise: 'who came back found his place' });
}
