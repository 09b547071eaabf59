// The tab of queues: how they move, drawn as it comes, and what an operator turns. What he is shown before a change is
// computed from what was seen of the last minute; what happens then, the server decides.
'use strict';

(() => {
  const { lang, say } = usher;
  const words = usher.words.queues;
  const WINDOW_SECONDS = 300;
  const WINDOW_SECONDS_MIN = 30;
  // Admissions come in batches; shorter than this their rate is noise.
  const RATE_SECONDS = 2;
  const PREVIEW_SECONDS = 60;
  // Fewer say nothing of how long people stay.
  const GONE_MIN = 5;

  // What the controls change, as the policy names it.
  const FIELDS = { rate: 'rate_per_second', cap: 'active_max', message: 'message', mode: 'mode' };

  const number = (value, digits = 0) => (value ?? 0).toLocaleString(lang, { maximumFractionDigits: digits });
  const milliseconds = value => value === null ? '–' : `${number(value, value < 10 ? 1 : 0)} ms`;

  /** A time as people say it. */
  function span(seconds) {
    if (seconds < 90) return say(words.seconds, { n: number(Math.ceil(seconds)) });
    if (seconds < 5_400) return say(words.minutes, { n: number(Math.round(seconds / 60)) });
    return say(words.hours, { n: number(seconds / 3_600, 1) });
  }

  /** What was seen of each queue and of the instance; the columns of its rows are what is drawn. */
  const seen = new Map();

  /** One more look at a queue. Turns are counted less often than it is looked at, where there are very many. */
  function remember({ at, counted_at: countedAt, instance }, queue) {
    const rows = seen.get(queue.name) ?? seen.set(queue.name, []).get(queue.name);
    const [time, counted] = [at, countedAt].map(instant => Date.parse(instant) / 1_000);
    const earlier = rows.filter(row => row.counted < counted);
    const before = earlier.find(row => row.counted >= counted - RATE_SECONDS) ?? earlier.at(-1);
    const admitted = before ? Math.max(0, queue.admitted_total - before.queue.admitted_total) : 0;
    rows.push({ time, counted, queue, instance, rate: before ? admitted / (counted - before.counted) : 0 });
    while (rows[0].time < time - WINDOW_SECONDS) rows.shift();
  }

  /** How long people stay inside, by Little's law, as far as the last minute shows it; at most as long as they may. */
  function stay(rows, queue) {
    const recent = rows.filter(row => row.time >= rows.at(-1).time - PREVIEW_SECONDS);
    const [first, last] = [recent[0], recent.at(-1)];
    const gone = last.queue.admitted_total - first.queue.admitted_total - (last.queue.active - first.queue.active);
    if (gone < GONE_MIN) return queue.session_seconds;
    const inside = recent.reduce((sum, row) => sum + row.queue.active, 0) / recent.length;
    return Math.min(queue.session_seconds, Math.max(1, inside * (last.time - first.time) / gone));
  }

  /**
   * What a rate and a cap come to for those who wait now. Inside, people go as fast as they stay short: at first the
   * rate alone lets people in, and once the room is full, as many as go. In seconds: until the last of them is let in.
   */
  function pace(rate, cap, queue, stays) {
    const scarce = queue.active_allowed < Math.min(cap, queue.active_max);
    const room = scarce ? queue.active_allowed : cap;
    const { waiting, active } = queue;
    // Where the number of people inside leads if nothing else bounds it, and when it gets to the room on its way there.
    const leads = rate * stays;
    const full = active >= room ? 0 : leads <= room ? Infinity : stays * Math.log((leads - active) / (leads - room));
    const free = waiting / rate;
    if (rate > 0 && free <= full) {
      return { last: free, binds: 'rate', inside: Math.min(room, leads + (active - leads) * Math.exp(-free / stays)) };
    }
    const flow = Math.min(rate, room / stays);
    return { last: full + (waiting - rate * full) / flow, binds: flow === rate ? 'rate' : scarce ? 'seats' : 'cap', inside: Math.min(room, leads) };
  }

  // Colours are the page's own, read anew with each drawing: day and night have others.
  const colour = name => () => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const line = (label, of) => ({ label, of, stroke: colour('--accent'), width: 2 });
  const limit = (label, of) => ({ label, of, stroke: colour('--warn'), width: 2, dash: [6, 4] });
  const PLOTS = {
    waiting: [line('waiting', row => row.queue.waiting)],
    active: [line('active', row => row.queue.active), limit('cap', row => row.queue.active_allowed)],
    rate: [line('admitted', row => row.rate), limit('set', row => row.queue.rate_now_per_second)],
    seats: [line('held', row => row.queue.seats?.held ?? null), limit('sold', row => row.queue.seats?.sold ?? null)],
    times: [line('p50', row => row.instance.p50_ms), limit('p99', row => row.instance.p99_ms)],
    errors: [limit('errors', row => row.instance.errors_per_second)],
  };

  function draw(frame, series) {
    const box = frame.querySelector('[role=img]');
    const size = () => ({ width: box.clientWidth, height: box.clientHeight });
    const clock = (ticks, step) => {
      const format = { hour: '2-digit', minute: '2-digit', second: step < 60 ? '2-digit' : undefined, hourCycle: 'h23' };
      return ticks.map(at => new Date(at * 1_000).toLocaleTimeString(lang, format));
    };
    const axis = { stroke: colour('--soft'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    const plot = new uPlot({
      ...size(), padding: [8, 28, 0, 0], legend: { show: false }, cursor: { show: false },
      scales: {
        x: { range: (_, from, to) => [Math.min(from ?? 0, (to ?? 0) - WINDOW_SECONDS_MIN), to ?? 0] },
        y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] },
      },
      axes: [
        { ...axis, values: (_, ticks, axis, space, step) => clock(ticks, step), space: 70, size: 26, gap: 9 },
        { ...axis, values: (_, ticks) => ticks.map(tick => number(tick, 2)), size: 50 },
      ],
      series: [{}, ...series.map(({ of, ...drawn }) => ({ ...drawn, points: { show: false } }))],
    }, [[], ...series.map(() => [])], box);
    new ResizeObserver(() => plot.setSize(size())).observe(box);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plot.redraw());
    frame.plot = plot;
    return rows => plot.setData([rows.map(row => row.time), ...series.map(({ of }) => rows.map(of))]);
  }

  desk.tab('queues', () => ({
    name: 'main',
    names: [],
    queue: null,
    instance: null,
    live: true,
    notice: '',
    rate: 0,
    cap: 0,
    message: '',
    mode: 'open',
    count: 1,
    edited: [],
    // The version of the policy that the controls show: what is changed is changed from there.
    version: 0,

    init() {
      const frames = [...this.$refs.plots.querySelectorAll('[data-plot]')];
      this.$nextTick(() => { this.drawings = frames.map(frame => draw(frame, PLOTS[frame.dataset.plot])); });
      desk.whenShown('queues', name => this.turnTo(name || this.name));
      desk.figures(figures => this.tell(figures));
    },

    turnTo(name) {
      if (name === this.name) return;
      [this.name, this.version] = [name, 0];
      this.forget();
    },

    choose(event) { location.hash = `#queues/${event.target.value}`; },

    /** Takes what came, or that nothing comes. */
    tell(figures) {
      this.live = figures !== null;
      if (!this.live) return;
      for (const queue of figures.queues) remember(figures, queue);
      const names = figures.queues.map(queue => queue.name);
      if (names.join() !== this.names.join()) this.names = names;
      this.instance = figures.instance;
      this.show();
    },

    show() {
      const rows = seen.get(this.name);
      if (!rows) return;
      this.queue = rows.at(-1).queue;
      this.follow();
      if (!document.hidden && desk.place().tab === 'queues') this.drawings?.forEach(drawn => drawn(rows));
    },

    /** The controls show the policy as it is, but for what somebody is changing right now. */
    follow() {
      const { queue, edited } = this;
      // Figures that were gathered before a change of ours know nothing of it.
      if (queue.version < this.version) return;
      if (edited.length === 0) this.version = queue.version;
      for (const [field, name] of Object.entries(FIELDS)) if (!edited.includes(field)) this[field] = queue[name];
    },

    edit(field) { if (!this.edited.includes(field)) this.edited = [...this.edited, field]; },
    forget() {
      this.edited = [];
      this.show();
    },

    // What the page shows.

    get isPaused() { return this.queue?.mode === 'paused'; },
    get isMoving() { return ['open', 'draining', 'passthrough'].includes(this.queue?.mode); },
    get isEdited() { return this.edited.length > 0; },
    get rateMax() { return Math.max(100, 4 * (this.queue?.rate_per_second ?? 0)); },
    get capMax() { return Math.max(1_000, 4 * (this.queue?.active_max ?? 0)); },
    get health() { return this.live && this.queue?.state === 'ok' && this.isMoving ? 'good' : 'bad'; },

    get stateText() {
      if (!this.queue) return words.looking;
      const { mode, reason } = this.queue;
      return reason && reason !== mode ? `${words.modes[mode]} · ${words.reasons[reason]}` : words.modes[mode];
    },

    /** What is away, and what that does to the figures. */
    get away() {
      if (!this.live) return words.not_live;
      const { ready, redis, database, clock } = this.instance ?? { ready: true };
      return ready ? '' : say(words.not_ready, { redis, database, clock });
    },

    get now() {
      const { queue, instance } = this;
      if (!queue) return {};
      const { seats } = queue;
      const { rate } = seen.get(this.name).at(-1);
      return {
        waiting: number(queue.waiting),
        active: say(words.of, { now: number(queue.active), max: number(queue.active_allowed) }),
        rate: say(words.per_second_of, { now: number(rate, 1), set: number(queue.rate_now_per_second, 1) }),
        seats: seats ? say(words.seats, { held: number(seats.held), sold: number(seats.sold), available: number(seats.available) }) : words.sells_nothing,
        times: say(words.times, { p50: milliseconds(instance.p50_ms), p99: milliseconds(instance.p99_ms) }),
        errors: say(words.errors, { errors: number(instance.errors_per_second, 1), requests: number(instance.requests_per_second) }),
      };
    },

    /** What the controls would do, said before it is done. */
    get preview() {
      const { queue, rate, cap } = this;
      if (!queue || !Number.isFinite(rate) || !Number.isFinite(cap)) return '';
      const stays = stay(seen.get(this.name), queue);
      const after = pace(rate, cap, queue, stays);
      const before = pace(queue.rate_per_second, queue.active_max, queue, stays);
      const wait = ({ last }) => Number.isFinite(last) ? say(words.in_about, { time: span(last) }) : words.never;
      const last = queue.waiting === 0 ? words.nobody_waits
        : say(this.isEdited ? words.last_instead : words.last, { waiting: number(queue.waiting), after: wait(after), before: wait(before) });
      const inside = say(words.inside[after.binds], { inside: number(Math.round(after.inside)), cap: number(cap), stay: span(stays) });
      const stands = queue.mode === 'paused' || queue.mode === 'closed';
      return [...(stands ? [words.once_open] : []), last, inside].join(' ');
    },

    // What an operator may do.

    applyPace() { return this.tune({ rate_per_second: this.rate, active_max: this.cap }, true); },
    applyWords() { return this.tune({ message: this.message, mode: this.mode }, true); },
    // Whoever stops the line does not ask what else has changed. While it drains nobody joins, and nobody joins then.
    pause() { return this.tune({ mode: this.queue.mode === 'draining' ? 'closed' : 'paused' }, false); },
    resume() { return this.tune({ mode: 'open' }, false); },

    async tune(change, onlyIfKnown) {
      const headers = onlyIfKnown ? { 'If-Match': `"v${this.version}"` } : {};
      const { status, etag, error } = await desk.ask('PUT', `/admin/queues/${this.name}/policy`, change, headers);
      if (status === 412) this.notice = await this.whoWasQuicker();
      else this.notice = error ?? '';
      if (status === 412) this.edited = [];
      if (status !== 200) return;
      this.edited = this.edited.filter(field => !(FIELDS[field] in change));
      this.version = Number(etag.match(/\d+/)[0]);
      for (const [field, name] of Object.entries(FIELDS)) if (!this.edited.includes(field) && name in change) this[field] = change[name];
    },

    /** Whose change it was that came first, and of what. */
    async whoWasQuicker() {
      const { body } = await desk.ask('GET', `/admin/audit?limit=1&queue=${this.name}`);
      const [entry] = body?.entries ?? [];
      if (!entry) return usher.words.refused.policy_changed;
      const changed = Object.keys(entry.after ?? {}).filter(field => entry.before?.[field] !== entry.after[field]);
      const what = changed.map(field => `${field}: ${entry.before?.[field]} → ${entry.after[field]}`).join(', ');
      return say(words.quicker, { who: entry.operator, at: new Date(entry.at).toLocaleTimeString(lang), what: what || entry.action });
    },

    async admit() {
      const { body, error } = await desk.ask('POST', `/admin/queues/${this.name}/admit`, { count: this.count });
      this.notice = error ?? say(words.granted, { count: number(body.count) });
    },
  }));
})();
