// A steady stream of newcomers, and then for ten seconds ten times as many. Half a minute later it is as if nothing had
// happened: the same answers, as quickly as before. One visitor asks all the time and holds the end against the
// beginning, for k6 compares no figure with another; a machine that is slow all along is not blamed for it.

import { sleep } from 'k6';
import exec from 'k6/execution';
import { Gauge, Trend } from 'k6/metrics';
import { join, makeQueue, poll, promises, size } from './lib/line.js';
import { slowestOfASecond } from './lib/slowest.js';
import { answeredInTime, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

// Who comes in the surge.
const PEOPLE = size(5000, 500);
const SURGE_SECONDS = 10;
const TIMES = 10;
const STEADY = Math.max(1, Math.round(PEOPLE / SURGE_SECONDS / TIMES));
// Before, surge, recovery, after.
const [BEFORE, SURGE, RECOVERY, AFTER] = [8, SURGE_SECONDS, 30, 8];
const POLICY = { rate_per_second: 20, burst: 1, active_max: 1000000, claim_seconds: 600 };
const PROBE_SECONDS = 0.02;
const RECOVERED = { times: 3, ms: 20 };

const [probeBefore, probeSurge, probeAfter] = ['before', 'surge', 'after'].map((phase) => new Trend(`probe_${phase}`, true));
const recovered = new Gauge('recovered');

const arrivals = (rate, startSeconds, seconds) => ({
  executor: 'constant-arrival-rate',
  exec: 'visit',
  rate,
  timeUnit: '1s',
  startTime: `${startSeconds}s`,
  duration: `${seconds}s`,
  preAllocatedVUs: Math.max(50, rate),
  gracefulStop: '5s',
});

export const options = {
  scenarios: {
    before: arrivals(STEADY, 0, BEFORE),
    surge: arrivals(STEADY * TIMES, BEFORE, SURGE),
    recovery: arrivals(STEADY, BEFORE + SURGE, RECOVERY),
    after: arrivals(STEADY, BEFORE + SURGE + RECOVERY, AFTER),
    probe: { executor: 'per-vu-iterations', exec: 'probe', vus: 1, maxDuration: '90s' },
  },
  thresholds: { ...promises, ...answeredInTime, recovered: ['value==1'] },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return makeQueue('late-surge', POLICY);
}

// Somebody comes, looks once where he stands, and is not seen again.
export function visit(line) {
  const scenario = ['before', 'surge', 'recovery', 'after'].indexOf(exec.scenario.name);
  const me = join(line, line.first_user + (scenario + 1) * 1000000 + exec.scenario.iterationInTest);
  poll(me);
}

export function probe(line) {
  const me = join(line, line.first_user);
  const began = Date.now();
  const took = { before: [], after: [] };
  for (let seconds = 0; seconds < BEFORE + SURGE + RECOVERY + AFTER; seconds = (Date.now() - began) / 1000) {
    const asked_at = Date.now();
    poll(me);
    const ms = Date.now() - asked_at;
    if (seconds < BEFORE) {
      probeBefore.add(ms);
      // The first answers of a run pay for connections and for warming up.
      if (seconds > 1) took.before.push({ at: asked_at, ms });
    } else if (seconds < BEFORE + SURGE) {
      probeSurge.add(ms);
    } else if (seconds > BEFORE + SURGE + RECOVERY) {
      probeAfter.add(ms);
      took.after.push({ at: asked_at, ms });
    }
    sleep(PROBE_SECONDS);
  }
  const [before, after] = [took.before, took.after].map(slowestOfASecond);
  recovered.add(after <= Math.max(before * RECOVERED.times, before + RECOVERED.ms) ? 1 : 0);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const times = (phase) => ['med', 'p(99)', 'max'].map((stat) => figure(value(`probe_${phase}`, stat), 1)).join(', ');
  const about = [
    ['The surge', `${figure(STEADY)} newcomers a second, then ${figure(STEADY * TIMES)} for ${SURGE_SECONDS} s`],
    ['one who asks all the time, before: p50, p99, max ms', times('before')],
    ['in the surge', times('surge')],
    [`${RECOVERY} s after it`, times('after')],
    ['places that moved back, places lost', `${value('position_rose', 'count')}, ${value('place_lost', 'count')}`],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('late-surge', metrics, { about, size: { people: PEOPLE }, promise: 'the surge left no trace' });
}
