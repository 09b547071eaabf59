// The doors are closed, some knock already, and then they open and everybody is there within a few seconds. Nobody has a
// number before the opening; then each gets one, also who asks from two tabs at once, and the numbers have neither gaps
// nor doubles. People share no memory: what they add up are places counted from the first number, and marks of places.

import { sleep } from 'k6';
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Gauge, Trend } from 'k6/metrics';
import { diceOf, mark, total } from './lib/chance.js';
import { askAll } from './lib/contract.js';
import {
  arrivalIn, audit, audited, joinAgain, joining, makeQueue, numberIn, operator, poll, promises, PUBLIC, size,
} from './lib/line.js';
import { allKept, answeredInTime, keptIn, rates, summary, valueIn } from './lib/summary.js';
import { figure } from './lib/table.js';

const SPIKE_SECONDS = 3;
const KNOCKING_SECONDS = 3;
// How many are played at once; each plays several people, one after the other.
const VUS = Math.min(size(3000, 1000), 250);
const VISITS = Math.ceil(size(3000, 1000) / VUS);
const EARLY = 25;
const PEOPLE = VUS * VISITS + EARLY + 1;
const TWO_TABS = 0.1;
const POLICY = { mode: 'closed', rate_per_second: 20, burst: 1, active_max: PEOPLE, claim_seconds: 600 };

// What a number costs more than the cheapest answer of the same server at the same time, and a floor: a machine that is
// shared is not blamed on the server.
const PACE = { times: 10, ms: 100 };

const PROMISES = ['closed_before_the_opening', 'one_number_a_person'];
const kept = rates(PROMISES);
const numbered = new Counter('numbered');
const marks = new Counter('marks');
const places = new Trend('places');
const joinMs = new Trend('join_ms', true);
const pace = { number: new Gauge('number_ms'), nothing: new Gauge('nothing_ms'), kept: new Gauge('pace_kept') };
const peopleLeft = new Gauge('people_left');
const [ALL_MARKS] = new SharedArray('sums', () => [
  total(Array.from({ length: PEOPLE }, (_, index) => mark(String(index + 1)))),
]);

const once = (story, vus, iterations) => ({ executor: 'per-vu-iterations', exec: story, vus, iterations, maxDuration: '60s' });
export const options = {
  scenarios: { spike: once('come', VUS, VISITS), early: once('comeEarly', EARLY, 1), open: once('open', 1, 1), pace: once('keepPace', 1, 1) },
  thresholds: {
    ...promises,
    ...answeredInTime,
    ...audited,
    ...allKept(PROMISES),
    numbered: [`count==${PEOPLE}`],
    places: ['min==1', `max==${PEOPLE}`],
    marks: [`count==${ALL_MARKS}`],
    people_left: [`value==${PEOPLE}`],
    // Numbers do not pile up behind the spike.
    pace_kept: ['value==1'],
  },
  systemTags: ['name', 'scenario'],
  summaryTrendStats: ['count', 'min', 'med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  const line = makeQueue('launch-spike', POLICY);
  return { ...line, opens_at: Date.now() + KNOCKING_SECONDS * 1000 };
}

export function open(line) {
  sleep((line.opens_at - Date.now()) / 1000);
  operator('PUT', `/admin/queues/${line.queue}/policy`, { mode: 'open' });
}

// One of the crowd: nobody comes before the opening, the last comes when the spike ends.
export function come(line) {
  const index = exec.scenario.iterationInTest;
  const { dice, chance } = diceOf(index + 1);
  const moment = ((exec.vu.iterationInScenario + dice()) / VISITS) * SPIKE_SECONDS * 1000;
  sleep(Math.max(0.001, (line.opens_at + moment - Date.now()) / 1000));
  visit(line, line.first_user + index + 1, chance(TWO_TABS) ? 2 : 1);
}

export function comeEarly(line) {
  visit(line, line.first_user + PEOPLE + exec.scenario.iterationInTest, 1);
}

// One of those who come early asks for his number again throughout the spike, and for nothing at all.
export function keepPace(line) {
  const me = visit(line, line.first_user + PEOPLE + EARLY, 1);
  if (!me) return;
  const took = { number: 0, nothing: 0 };
  const timed = (name, request) => {
    const asked_at = Date.now();
    request();
    took[name] += Date.now() - asked_at;
  };
  let times = 0;
  do {
    timed('number', () => joinAgain(me));
    timed('nothing', () => http.get(`${PUBLIC}/livez`, { tags: { name: 'nothing' } }));
    times += 1;
  } while (Date.now() < line.opens_at + SPIKE_SECONDS * 1000);
  const [number, nothing] = [took.number / times, took.nothing / times];
  pace.number.add(number);
  pace.nothing.add(nothing);
  pace.kept.add(number <= Math.max(PACE.ms, nothing * PACE.times) ? 1 : 0);
}

// Knocks until there is a number, then looks where he stands.
function visit(line, user_id, tabs) {
  const knock = { ...joining(line, user_id), refusals: { 403: ['queue_closed'] } };
  let answers;
  let ms;
  do {
    const asked_at = Date.now();
    answers = askAll(PUBLIC, Array(tabs).fill(knock));
    ms = Date.now() - asked_at;
    const is_open = answers.some(({ status }) => status === 200);
    if (asked_at + ms < line.opens_at) kept.closed_before_the_opening.add(!is_open);
    if (answers.some(({ status }) => status === 0)) return null;
    // Where one tab came a moment before the opening and the other after it, both ask again.
    if (answers.every(({ status }) => status === 200)) break;
    sleep(0.25);
  } while (Date.now() < line.opens_at + 30000);
  const tokens = answers.map(({ body }) => body.token_id);
  if (!tokens[0]) return null;
  joinMs.add(ms);
  kept.one_number_a_person.add(tokens.every((token) => numberIn(token) === numberIn(tokens[0])));
  const place = arrivalIn(tokens[0]);
  numbered.add(1);
  places.add(place);
  marks.add(mark(String(place)));
  const me = { line, user_id, token: tokens[0], place: answers[0].body };
  poll(me);
  return me;
}

export function teardown(line) {
  const { waiting, active } = operator('GET', `/admin/queues/${line.queue}`);
  peopleLeft.add(waiting + active);
  audit(line);
}

export function handleSummary({ metrics }) {
  const value = valueIn(metrics);
  const about = [
    ['The opening', `${figure(PEOPLE)} people in ${SPIKE_SECONDS} s`],
    ['knocked before it and heard that it is closed', keptIn(metrics, 'closed_before_the_opening')],
    ['people with a number, in line or inside', `${figure(value('numbered', 'count'))}, ${figure(value('people_left', 'value'))}`],
    ['numbers, from the first', `${figure(value('places', 'min'))} to ${figure(value('places', 'max'))}`],
    ['one number a person', keptIn(metrics, 'one_number_a_person')],
    ['a number took, p50, p95, max ms', ['med', 'p(95)', 'max'].map((stat) => figure(value('join_ms', stat))).join(', ')],
    ['of one who asked all the time, mean ms; and for nothing', ['number_ms', 'nothing_ms'].map((name) => figure(value(name, 'value'), 1)).join(', ')],
    ['answers outside the contract, 5xx', `${value('outside_contract', 'count')}, ${value('server_errors', 'count')}`],
  ];
  return summary('launch-spike', metrics, { about, size: { people: PEOPLE }, promise: 'each came once into the line, and none was missed' });
}
