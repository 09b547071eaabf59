// Everybody refreshes, all the time: the place, and the token as if there were none yet, without a pause and whatever
// `poll_after_ms` says. Nobody gains or loses by it: the token stays the same, no place moves back, the line moves at
// its rate, and no answer is an error.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Counter, Gauge } from 'k6/metrics';
import { join, joinAgain, makeQueue, operator, poll, promises, size } from './lib/line.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const PEOPLE = size(300, 100);
const STORM_SECONDS = 25;
// A third of them is let in meanwhile.
const RATE = PEOPLE / 3 / STORM_SECONDS;
const POLICY = { rate_per_second: RATE, burst: 1, active_max: PEOPLE, claim_seconds: 15, session_seconds: 600 };
// Turns are whole, ticks 200 ms apart, and the first sample may come in the middle of a batch.
const RATE_KEPT = 0.1;

const refreshes = new Counter('refreshes');
const rateError = new Gauge('rate_error');
const peopleLeft = new Gauge('people_left');

export const options = {
  scenarios: {
    storm: { executor: 'per-vu-iterations', exec: 'refresh', vus: PEOPLE, maxDuration: `${STORM_SECONDS + 20}s` },
    watch: { executor: 'per-vu-iterations', exec: 'watch', vus: 1, maxDuration: `${STORM_SECONDS + 20}s` },
  },
  thresholds: {
    ...promises,
    ...answeredInTime,
    rate_error: [`value<=${RATE_KEPT}`],
    people_left: [`value==${PEOPLE}`],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return makeQueue('refresh-storm', POLICY);
}

export function refresh(line) {
  const me = join(line, line.first_user + exec.scenario.iterationInTest + 1);
  const until = line.started_at + STORM_SECONDS * 1000;
  for (let again = 0; Date.now() < until; again += 1) {
    refreshes.add(1);
    if (!(again % 4 === 3 ? joinAgain(me) : poll(me))) return;
  }
}

// The rate between the first batch and the last that is seen, as operators see it.
export function watch(line) {
  const seen = [];
  while (Date.now() < line.started_at + (STORM_SECONDS - 1) * 1000) {
    const { last_admitted_at, admitted_total } = operator('GET', `/admin/queues/${line.queue}`);
    if (last_admitted_at) seen.push({ at: Date.parse(last_admitted_at), turns: admitted_total });
    sleep(0.25);
  }
  const last = seen[seen.length - 1];
  const base = seen.find((look) => look.at > seen[0].at && look.at < last.at);
  // A line that did not move, or was let in at once, had no rate.
  const measured = base ? ((last.turns - base.turns) * 1000) / (last.at - base.at) : 0;
  rateError.add(Math.abs(measured / RATE - 1));
}

export function teardown(line) {
  const { waiting, active } = operator('GET', `/admin/queues/${line.queue}`);
  peopleLeft.add(waiting + active);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['The storm', `${figure(PEOPLE)} people, ${STORM_SECONDS} s without a pause`],
    ['refreshes, a second', `${figure(value('refreshes', 'count'))}, ${figure(value('refreshes', 'count') / STORM_SECONDS)}`],
    ['people in line or inside at the end', figure(value('people_left', 'value'))],
    ['places that moved back, places lost', `${value('position_rose', 'count')}, ${value('place_lost', 'count')}`],
    ['rate, off by', `${figure(value('rate_error', 'value') * 100, 1)} %`],
    ['5xx', figure(value('server_errors', 'count'))],
  ];
  return summary('refresh-storm', metrics, { about, size: { people: PEOPLE }, promise: 'nobody lost a place' });
}
