// People wait as they are told. They join within a few seconds, ask again when `poll_after_ms` says so and not before,
// and go when their turn has come. Whoever does as told never moves back, never misses the turn, and is told a time to
// come back that makes sense; and hardly asks at all.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { join, leave, makeQueue, poll, promises, size } from './lib/line.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const PEOPLE = size(1000, 200);
const ARRIVAL_SECONDS = 8;
const MOVING_SECONDS = 30;
const RATE = PEOPLE / MOVING_SECONDS;
const POLL_MS = { least: 500, most: Number(__ENV.USHER_POLL_SECONDS_MAX || 30) * 1000 };
const POLICY = { rate_per_second: RATE, burst: 1, active_max: PEOPLE, claim_seconds: 15, session_seconds: 60 };

const turns = new Counter('turns');
const polls = new Counter('polls');
const toldSensibly = new Rate('told_sensibly');
const waited = new Trend('waited_seconds');

export const options = {
  scenarios: {
    people: {
      executor: 'constant-arrival-rate',
      exec: 'wait',
      rate: PEOPLE,
      timeUnit: `${ARRIVAL_SECONDS}s`,
      duration: `${ARRIVAL_SECONDS}s`,
      preAllocatedVUs: PEOPLE,
      gracefulStop: `${MOVING_SECONDS + 15}s`,
    },
  },
  thresholds: {
    ...promises,
    ...answeredInTime,
    dropped_iterations: ['count==0'],
    // Everybody, and nobody twice; one more or less is the arrival rate's rounding.
    turns: [`count>=${PEOPLE - 1}`],
    told_sensibly: ['rate==1'],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return makeQueue('poll', POLICY);
}

export function wait(line) {
  const began = Date.now();
  const me = join(line, line.first_user + exec.scenario.iterationInTest + 1);
  while (me.place.status === 'waiting') {
    const told = me.place.poll_after_ms;
    toldSensibly.add(told >= POLL_MS.least && told <= POLL_MS.most);
    sleep(told / 1000);
    polls.add(1);
    if (!poll(me)) return;
  }
  if (me.place.status !== 'active') return;
  turns.add(1);
  waited.add((Date.now() - began) / 1000);
  leave(me);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['People who wait as told', `${figure(PEOPLE)} in ${ARRIVAL_SECONDS} s, ${figure(RATE, 1)} turns a second`],
    ['turns', figure(value('turns', 'count'))],
    ['polls a person', figure(value('polls', 'count') / PEOPLE, 1)],
    ['waited, p50 and longest', `${figure(value('waited_seconds', 'med'), 1)} s, ${figure(value('waited_seconds', 'max'), 1)} s`],
    ['places that moved back, places lost', `${value('position_rose', 'count')}, ${value('place_lost', 'count')}`],
  ];
  return summary('poll', metrics, { about, size: { people: PEOPLE }, promise: 'nobody moved back or missed a turn' });
}
