// How a story ends: two tables, a verdict, and the same as JSON.

import { kindNames } from './contract.js';
import { broken, figure, table } from './table.js';

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
  const figures = { ...size, machine: __ENV.MACHINE, at: new Date().toISOString(), verdict, about, requests };
  const json = `${JSON.stringify(figures, null, 2)}\n`;
  const accepted = __ENV.ACCEPT && !failures.length ? { [`load-tests/accepted/${story}.json`]: json } : {};
  return {
    stdout: `\n${table(about)}\n\n${table([head, ...requests])}\n\n${story}: ${verdict}\n`,
    [`var/k6/${story}.json`]: json,
    ...accepted,
  };
}

// Every kind of request is named, so that its figures are kept: the server answers or gives up within five seconds.
export const answeredInTime = Object.fromEntries(
  kindNames.map((kind) => [`http_req_duration{name:${kind}}`, ['max<5000']]),
);
