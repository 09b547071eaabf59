// The waiting room: takes a place, tells it as it changes, and goes on when the turn has come. What it says stands in
// the page's words; where the person stands, the server alone knows.
'use strict';

const { cookie, claims, tokenOf, ask, lang, words, say } = usher;
const STOCK_EVERY_MS = 5_000;
// Somebody who looks at the page is taken on after so long; who does not look must not lose his turn unseen.
const GO_ON_AFTER_MS = 3_000;
const TRY_STREAM_AGAIN_MS = 30_000;
const BREAK_SPREAD_MS = 2_000;

/** Who the person is: as the shop's link or its identity says, else a name that this browser keeps. */
function person(named) {
  const kept = named || claims(usher.identity() ?? '').sub || localStorage.getItem('usher_user')
    || String(Math.floor(Math.random() * Number.MAX_SAFE_INTEGER) + 1);
  localStorage.setItem('usher_user', kept);
  return kept;
}

document.addEventListener('alpine:init', () => Alpine.data('wait', () => ({
  state: 'joining',
  place: null,
  first: 0,
  message: '',
  problem: null,
  offline: false,
  stream: null,
  timer: null,
  copied: false,
  carryImage: '',
  canAsk: 'Notification' in window && Notification.permission === 'default',

  init() {
    this.queue = this.$el.dataset.queue;
    this.target = this.$el.dataset.target;
    usher.unpack(this.queue);
    const token = tokenOf(this.queue);
    this.user = token ? claims(token).sub : person(this.$el.dataset.user);
    if (token) this.poll(); else this.join();
    document.addEventListener('visibilitychange', () => this.wake());
    window.addEventListener('online', () => this.wake());
    usher.localise();
    setInterval(() => this.renewStock(), STOCK_EVERY_MS);
  },

  // What the page shows.

  get isWaiting() { return this.state === 'waiting'; },
  get isActive() { return this.state === 'active'; },
  get isOver() { return this.state === 'ended' || this.state === 'left' || this.state === 'not_open'; },
  get hasTarget() { return this.target !== ''; },
  get mayNotify() { return this.canAsk; },
  get copyLabel() { return this.copied ? words.copied : words.copy; },

  get headline() {
    if (this.state !== 'waiting') return words[this.state];
    const { position, draw_number: number } = this.place;
    if (position === 1) return words.next;
    if (position) return say(words.position, { position: position.toLocaleString(lang) });
    return number ? say(words.draw, { number: number.toLocaleString(lang) }) : words.finding;
  },

  get progress() {
    const { position } = this.place ?? {};
    return position && this.first ? Math.round(100 * (1 - (position - 1) / this.first)) : 0;
  },

  get estimate() {
    const { eta_low_seconds: low, eta_high_seconds: high } = this.place ?? {};
    if (high === undefined) return '';
    if (high <= 60) return words.eta_soon;
    return say(words.eta, { low: Math.floor(low / 60), high: Math.ceil(high / 60) });
  },

  get explanation() {
    if (this.offline) return words.offline;
    if (this.problem) return this.problem;
    if (this.state === 'ended') return words.ended_why;
    if (this.state === 'active') {
      const time = new Date(this.place.expires_at).toLocaleTimeString(lang, { timeStyle: 'short' });
      return say(words.active_until, { time }) + (this.hasTarget ? ` ${words.going_on}` : '');
    }
    return words.reason[this.place?.reason] ?? '';
  },

  // How the place is learnt.

  async join() {
    this.state = 'joining';
    clearTimeout(this.timer);
    try {
      const { status, body, wait } = await ask(`/token/${this.user}?queue=${this.queue}`);
      this.offline = false;
      if (status === 200) return this.joined(body);
      if (body.code === 'queue_closed') this.state = 'not_open';
      else if (status < 429) [this.state, this.problem] = ['not_open', words.no_identity];
      else this.problem = words.busy;
      if (status >= 429) this.later(() => this.join(), wait);
      else if (this.state === 'not_open' && body.code === 'queue_closed') this.later(() => this.join(), 10_000);
    } catch {
      this.offline = true;
      this.later(() => this.join(), 2_000);
    }
  },

  joined(place) {
    this.problem = null;
    this.tell(place);
    if (this.isWaiting) this.listen();
  },

  /** Listens. A stream that breaks is not waited for: polls tell the place until it is tried again. */
  listen() {
    this.stream?.close();
    clearTimeout(this.timer);
    if (!('EventSource' in window)) return this.poll();
    const stream = this.stream = new EventSource('/queue/events');
    stream.addEventListener('place', event => {
      this.offline = false;
      this.tell(JSON.parse(event.data));
    });
    stream.addEventListener('ended', () => this.end());
    stream.addEventListener('error', () => {
      stream.close();
      this.offline = !navigator.onLine;
      this.streamAgainAt = Date.now() + TRY_STREAM_AGAIN_MS;
      // A server that goes breaks many streams at once.
      this.later(() => this.poll(), Math.random() * BREAK_SPREAD_MS);
    });
  },

  async poll() {
    clearTimeout(this.timer);
    try {
      const { status, body, wait } = await ask('/queue');
      this.offline = false;
      if (status === 200) {
        this.tell(body);
        if (!this.isWaiting) return;
        if (Date.now() > (this.streamAgainAt ?? 0) && 'EventSource' in window) this.listen();
        else this.later(() => this.poll(), body.poll_after_ms);
      } else if (status === 410) this.end();
      else if (status === 401) this.forget('joining', () => this.join());
      else this.later(() => this.poll(), wait);
    } catch {
      this.offline = true;
      this.later(() => this.poll(), 2_000);
    }
  },

  later(then, ms) { this.timer = setTimeout(then, ms); },

  /** A phone that slept, a tab that was hidden, a line that was cut: it looks at once. */
  wake() {
    if (document.hidden || this.isOver || this.state === 'joining') return;
    if (this.isActive) this.goOnSoon();
    else this.poll();
  },

  tell(place) {
    if (place.token_id) cookie.set(place.token_id);
    this.message = place.message ?? this.message;
    const came = place.status === 'active' && !this.isActive;
    if (place.position) this.first = this.startedAt(place.position);
    this.place = place;
    this.state = place.status;
    document.title = this.headline;
    if (came) this.admitted();
  },

  /** Where this person began, so that progress survives a reload. */
  startedAt(position) {
    const key = `usher_first_${this.queue}_${claims(cookie.get() ?? '').seq}`;
    const first = Math.max(position, Number(localStorage.getItem(key) ?? 0));
    localStorage.setItem(key, first);
    return first;
  },

  admitted() {
    this.stream?.close();
    document.title = `● ${words.active}`;
    if ('Notification' in window && Notification.permission === 'granted') new Notification(words.active);
    this.goOnSoon();
  },

  goOnSoon() {
    if (this.hasTarget && !document.hidden) this.later(() => this.goOn(), GO_ON_AFTER_MS);
  },

  /** The turn is claimed on the way, so that it lasts its full time. */
  async goOn() {
    clearTimeout(this.timer);
    const { status } = await ask('/queue').catch(() => ({}));
    if (status === 410) return this.end();
    location.assign(this.target);
  },

  end() { this.forget('ended'); },

  forget(state, then) {
    this.stream?.close();
    clearTimeout(this.timer);
    cookie.drop();
    this.place = null;
    this.first = 0;
    this.state = state;
    document.title = this.headline;
    then?.();
  },

  // What a person may do.

  joinAgain() { this.problem = null; this.join(); },

  async leave() {
    if (!confirm(words.sure)) return;
    const { status } = await ask('/queue', { method: 'DELETE' }).catch(() => ({}));
    if (status === 204 || status === 410) this.forget('left');
    else this.offline = true;
  },

  async notify() { this.canAsk = (await Notification.requestPermission()) === 'default'; },

  carry() { this.carryImage = `/wait/${this.queue}/carry.svg${location.search}`; },

  async copy() {
    await navigator.clipboard.writeText(`${location.origin}${location.pathname}${location.search}#token=${cookie.get()}`);
    this.copied = true;
  },

  // What is sold here.

  async renewStock() {
    if (document.hidden) return;
    const answer = await fetch(`/queues/${this.queue}`).catch(() => null);
    if (!answer?.ok) return;
    for (const { concert_id: id, tiers } of (await answer.json()).concerts) {
      for (const { name, price, seats_free: free } of tiers) {
        const cell = document.querySelector(`[data-free="${CSS.escape(`${id}/${name}/${price}`)}"]`);
        if (cell) cell.textContent = free.toLocaleString(lang);
      }
    }
  },
})));
