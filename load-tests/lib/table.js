// Figures as people read them: Markdown tables that can be put into a README as they are.

// 1234567.8 → "1,234,567.8"
export function figure(value, digits = 0) {
  const [whole, fraction] = Number(value).toFixed(digits).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction ? `${grouped}.${fraction}` : grouped;
}

// Rows of cells, the first of them the head; every column but the first is set right.
export function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(4, ...rows.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, i) => (i ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width))).join(' | ')} |`;
  return [line(rows[0]), rule, ...rows.slice(1).map(line)].join('\n');
}

// Every threshold: what was judged, what it had to be, and whether it was.
export function limits(metrics) {
  return Object.entries(metrics).flatMap(([name, metric]) =>
    Object.entries(metric.thresholds || {}).map(([expression, { ok }]) => ({ name, expression, ok })),
  );
}

// The thresholds that did not hold, as `metric: expression (what it was)`.
export const broken = (metrics) =>
  limits(metrics)
    .filter(({ ok }) => !ok)
    .map(({ name, expression }) => `${name}: ${expression} (it was ${JSON.stringify(metrics[name].values)})`);
