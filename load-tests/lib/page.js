// A summary as a page that needs nothing else: no script, no other host. What it says is decided elsewhere.

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { border-bottom: 1px solid #d5d9de; padding: .3rem .6rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
.verdict { padding: .6rem 1rem; border-left: .4rem solid; white-space: pre-wrap; }
.pass { border-color: #1a7f37; background: #e6f5ea; } .fail { border-color: #b3261e; background: #fbe9e7; }
code { overflow-wrap: anywhere; } small { color: #59636e; }
@media (prefers-color-scheme: dark) {
  body { background: #14171a; color: #e6e8ea; } th, td { border-color: #394048; } small { color: #9aa4ae; }
  .pass { background: #12301c; } .fail { background: #3a1714; }
}`;

const escaped = (text) =>
  String(text).replace(/[&<>"]/g, (letter) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[letter]);

function table([head, ...rows]) {
  const line = (cells, tag) => `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`;
  return `<table><thead>${line(head, 'th')}</thead><tbody>${rows.map((row) => line(row, 'td')).join('\n')}</tbody></table>`;
}

// A bar for the p95 of each kind of request, its tick the p50. Lengths are roots, so that the short ones are seen, too.
function bars(requests) {
  const ms = (cell) => Number(cell.replace(/,/g, ''));
  const longest = Math.max(1, ...requests.map(([, , , p95]) => ms(p95)));
  const x = (value) => (Math.sqrt(value / longest) * 420).toFixed(1);
  const bar = ([kind, , p50, p95], i) => {
    const y = i * 24;
    return `<text x="210" y="${y + 16}" text-anchor="end">${escaped(kind)}</text>
<rect x="220" y="${y + 5}" width="${x(ms(p95))}" height="14" fill="#4c7bd9"/>
<rect x="${(220 + Number(x(ms(p50)))).toFixed(1)}" y="${y + 3}" width="2" height="18" fill="currentColor"/>
<text x="${230 + Number(x(ms(p95)))}" y="${y + 16}">${escaped(p95)} ms</text>`;
  };
  return `<svg viewBox="0 0 740 ${requests.length * 24}" width="100%" font-size="13" fill="currentColor" role="img"
 aria-label="50th and 95th percentile of each kind of request">
${requests.map(bar).join('\n')}
</svg>`;
}

// `figures` are those of the JSON; `head` names the columns of the requests.
export function page(story, { passed, verdict, machine, at, about, requests, thresholds }, head) {
  const kept = thresholds.map(({ name, expression, ok }) => [name, expression, ok ? 'kept' : 'BROKEN']);
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escaped(story)}: ${passed ? 'PASS' : 'FAIL'}</title><style>${STYLE}</style>
<h1>${escaped(story)}</h1>
<p class="verdict ${passed ? 'pass' : 'fail'}">${escaped(verdict)}</p>
<p><small>${escaped(at)}, ${escaped(machine)}</small></p>
${table(about)}
<h2>Requests</h2>
<p><small>Bar: p95, tick: p50; lengths are square roots.</small></p>
${bars(requests)}
${table([head, ...requests])}
<h2>Thresholds</h2>
${table([['Figure', 'has to be', 'and was'], ...kept])}
</html>
`;
}
