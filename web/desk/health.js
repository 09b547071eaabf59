// How the instance is that serves this desk: its machines, their clocks, its settings, and whether the books add up.
'use strict';

(() => {
  const { words: { health: words }, say } = usher;
  const LOOK_EVERY_MS = 15_000;

  desk.tab('health', () => ({
    health: {},
    findings: [],
    checks: [],
    booksText: '',
    problem: '',
    loaded: false,
    busy: false,
    isLive: false,

    init() {
      desk.whenShown('health', () => this.load());
      desk.figures(figures => { this.isLive = figures !== null; });
      setInterval(() => document.hidden || this.busy || desk.place().tab !== 'health' || this.load(), LOOK_EVERY_MS);
    },

    get verdict() {
      if (!this.health.ready) return words.not_ready;
      const wrong = this.findings.filter(finding => !finding.ok).length;
      return wrong > 0 ? say(words.ready_but, { wrong }) : words.ready;
    },
    get state() { return this.health.ready ? 'active' : 'ended'; },
    get isRebuilding() { return this.health.queue === 'rebuilding'; },
    get started() { return this.loaded ? form.tell(this.health.started_at) : ''; },
    get now() { return this.loaded ? form.tell(this.health.now) : ''; },
    get figures() { return this.isLive ? words.live : words.not_live; },

    async load() {
      const { body, error } = await desk.ask('GET', '/admin/health');
      this.problem = error ?? '';
      if (error) return;
      [this.health, this.loaded] = [body, true];
      const seen = ['redis', 'database', 'clock'].map(what => ({ what: `seen_${what}`, said: body[what], ok: body[what] === 'ok' }));
      this.findings = [...seen, ...body.findings].map(finding => ({
        ...finding,
        name: words.of[finding.what] ?? finding.what,
        state: finding.ok ? words.well : words.wrong,
        mark: finding.ok ? '' : 'wrong',
      }));
    },

    async check() {
      this.busy = true;
      const { body, error } = await desk.ask('GET', '/admin/check');
      [this.busy, this.problem] = [false, error ?? ''];
      if (error) return;
      [this.checks, this.booksText] = [body.checks, body.ok ? words.books_hold : words.books_wrong];
    },
  }));
})();
