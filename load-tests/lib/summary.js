// How a story ends: two tables, a verdict, and the same as JSON and as a page.

import { Rate } from 'k6/metrics';
import { kindNames } from './contract.js';
import { page } from './page.js';
import { broken, figure, limits, table } from './table.js';

// A figure of k6's, or 0 where nothing was counted.
export const valueIn = (metrics) => (name, stat) => (metrics[name] ? metrics[name].values[stat] : 0);

// What `handleSummary` returns: `about` are rows about the story, `size` is how many people it is about, `promise` is
// what holds when it passes.
export function summary(story, metrics, { about, size, promise }) {
  const value = valueIn(metrics);
  const requests = kindNames
    .map((kind) => {
      const of = (stat) => value(`http_req_duration{name:${kind}}`, stat);
      return [kind, figure(of('count')), ...['med', 'p(95)', 'p(99)', 'max'].map((stat) => figure(of(stat), 1))];
    })
    .filter(([, count]) => count !== '0');
  const failures = broken(metrics);
  const verdict = failures.length ? `FAIL\n  ${failures.join('\n  ')}` : `PASS: ${promise}`;
  const head = ['Request', 'count', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms'];
  const [machine, at, passed] = [__ENV.MACHINE, new Date().toISOString(), !failures.length];
  const figures = { ...size, machine, at, passed, verdict, about, requests, thresholds: limits(metrics) };
  const json = `${JSON.stringify(figures, null, 2)}\n`;
  const accepted = __ENV.ACCEPT && passed ? { [`load-tests/accepted/${story}.json`]: json } : {};
  return {
    stdout: `\n${table(about)}\n\n${table([head, ...requests])}\n\n${story}: ${verdict}\n`,
    [`var/k6/${story}.json`]: json,
    [`var/k6/${story}.html`]: page(story, figures, head),
    ...accepted,
  };
}

// Rates of promises, each kept or broken many times. One that was never put to the test has the rate 0.
export const rates = (names) => Object.fromEntries(names.map((name) => [name, new Rate(name)]));
export const allKept = (names) => Object.fromEntries(names.map((name) => [name, ['rate==1']]));

// How often, of how many times, a promise was kept.
export function keptIn(metrics, name) {
  const { passes = 0, fails = 0 } = metrics[name] ? metrics[name].values : {};
  return `${figure(passes)} of ${figure(passes + fails)}`;
}

// Every kind of request is named, so that its figures are kept: the server answers or gives up within five seconds.
export const answeredInTime = Object.fromEntries(
  kindNames.map((kind) => [`http_req_duration{name:${kind}}`, ['max<5000']]),
);
