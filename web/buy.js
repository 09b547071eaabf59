// The seat map: choose, hold, pay. The server alone says who has a seat; what is drawn here may be a second old.
'use strict';

const SEATS_EVERY_MS = 1_500;
// A request whose outcome nobody knows is sent again as it was: it finds its result.
const SENT_AGAIN_MAX = 5;

const { ask, words, say, money } = usher;
const pause = ms => new Promise(resolve => { setTimeout(resolve, ms); });

/** Sends a request until its outcome is known. Its key makes it the same request each time. */
async function settle(path, options) {
  const key = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  for (let sent = 1; ; sent += 1) {
    const answer = await ask(path, { ...options, key }).catch(() => ({ status: 503, body: {}, wait: 1_000 }));
    if (answer.status !== 503 && answer.status !== 429 || sent === SENT_AGAIN_MAX) return answer;
    await pause(answer.wait);
  }
}

document.addEventListener('alpine:init', () => Alpine.data('buy', () => ({
  state: 'loading',
  notice: '',
  chosen: [],
  together: 2,
  tier: '',
  booking: null,
  balance: 0,
  now: Date.now(),
  busy: false,

  async init() {
    ({ concert: this.concert, queue: this.queue, currency: this.currency } = this.$el.dataset);
    usher.unpack(this.queue);
    usher.localise();
    const token = usher.tokenOf(this.queue);
    this.user = Number(usher.claims(token ?? '').sub);
    const { body } = await ask(`/concerts/${this.concert}`);
    this.hall = new Hall(body);
    const price = tier => money(tier.price, this.currency);
    this.hall.draw(this.$refs.hall, price, (seat, tier, state) =>
      say(words.seat, { seat, tier: tier.name, price: price(tier), state: words[state] }));
    await this.look();
    if (!token) this.state = 'outside';
    else await this.resume();
    setInterval(() => document.hidden || this.isPaid || this.look(), SEATS_EVERY_MS);
    setInterval(() => this.tick(), 250);
  },

  // What the page shows.

  get isOutside() { return this.state === 'outside'; },
  get isChoosing() { return this.state === 'choosing'; },
  get isHolding() { return this.state === 'holding'; },
  get isPaid() { return this.state === 'paid'; },
  get isShort() { return this.isHolding && this.balance < this.booking.amount; },
  get mayNotHold() { return this.busy || this.chosen.length === 0; },
  get mayNotPay() { return this.busy || this.isShort; },
  get waitingRoom() { return `/wait/${this.queue}?target=${encodeURIComponent(`/buy/${this.concert}`)}`; },
  get choice() {
    if (this.chosen.length === 0) return words.none_chosen;
    return `${this.chosen.join(', ')} · ${money(this.hall.price(this.chosen), this.currency)}`;
  },
  get held() { return this.booking?.seats.join(', ') ?? ''; },
  get amount() { return money(this.booking?.amount ?? 0, this.currency); },
  get balanceText() { return money(this.balance, this.currency); },
  get topUpLabel() {
    return say(words.top_up, { amount: money((this.booking?.amount ?? 0) - this.balance, this.currency) });
  },
  get number() { return String(this.booking?.booking_id ?? ''); },
  get paidText() { return say(words.paid, { seats: this.held }); },
  get left() {
    const seconds = Math.max(0, Math.ceil((Date.parse(this.booking?.expires_at) - this.now) / 1_000) || 0);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  },

  // What is learnt.

  async look() {
    const answer = await fetch(`/concerts/${this.concert}/seats`).catch(() => null);
    if (!answer?.ok) return;
    this.letters = (await answer.json()).seats;
    this.redraw();
    const gone = this.isChoosing ? this.chosen.filter(seat => !this.hall.isFree(seat)) : [];
    if (gone.length > 0) this.lose(gone);
  },

  redraw() { this.hall.show(this.letters, new Set(this.chosen)); },

  /** Whoever comes back finds the hold that he has; without a turn the ticket, or the way to the line. */
  async resume() {
    const [{ body }, { body: place }] = await Promise.all([ask(`/users/${this.user}/bookings`), ask('/queue')]);
    const mine = (body.bookings ?? []).filter(booking => booking.concert_id === Number(this.concert));
    const find = status => mine.find(booking => booking.status === status);
    if (find('held')) await this.holding(find('held'));
    else if (place.status === 'active') this.state = 'choosing';
    else if (find('paid')) await this.paid(find('paid'));
    else this.state = 'outside';
  },

  async paid(booking) {
    [this.booking, this.state, this.notice] = [booking, 'paid', ''];
    await this.renewBalance();
  },

  tick() {
    this.now = Date.now();
    if (!this.isHolding || this.busy || Date.parse(this.booking.expires_at) > this.now) return;
    [this.notice, this.state, this.booking] = [words.ran_out, 'choosing', null];
  },

  async renewBalance() { this.balance = (await ask(`/balance/${this.user}`)).body.balance ?? 0; },

  // What a person may do.

  toggle(event) {
    const seat = event.target.closest('[data-seat]')?.dataset.seat;
    if (!seat || !this.isChoosing) return;
    const isChosen = this.chosen.includes(seat);
    this.chosen = isChosen ? this.chosen.filter(other => other !== seat) : [...this.chosen, seat];
    this.notice = '';
    this.redraw();
  },

  best() {
    this.chosen = [];
    this.redraw();
    const isWanted = seat => this.tier === '' || this.hall.tierOf.get(seat).name === this.tier;
    this.chosen = this.hall.together(this.together, isWanted);
    this.notice = this.chosen.length > 0 ? '' : say(words.none_together, { count: this.together });
    this.redraw();
  },

  /** Seats that somebody else has by now: said, and the nearest ones offered in their place. */
  lose(gone) {
    const kept = this.chosen.filter(seat => !gone.includes(seat));
    this.chosen = [];
    this.redraw();
    const offered = this.hall.instead(gone).filter(seat => !kept.includes(seat));
    this.chosen = [...kept, ...offered];
    const said = offered.length > 0 ? words.lost_offer : words.lost;
    this.notice = say(said, { gone: gone.join(', '), offered: offered.join(', ') });
    this.redraw();
  },

  async hold() {
    const body = { user_id: this.user, concert_id: Number(this.concert), seat_no: this.chosen.join(',') };
    const { status, body: said } = await this.alone(() => settle('/booking', { method: 'POST', body }));
    if (status === 201) return this.holding(said);
    if (said.taken) {
      await this.look();
      const gone = said.taken.filter(seat => this.chosen.includes(seat));
      if (gone.length > 0) this.lose(gone);
      return;
    }
    this.refuse(status, said);
  },

  async holding(booking) {
    [this.booking, this.notice, this.chosen, this.state] = [booking, '', [], 'holding'];
    this.redraw();
    await this.renewBalance();
  },

  async topUp() {
    const body = { user_id: this.user, balance: this.booking.amount - this.balance };
    const { status, body: said } = await this.alone(() => settle('/balance', { method: 'POST', body }));
    if (status === 200) this.balance = said.balance;
    else this.refuse(status, said);
  },

  async pay() {
    const body = { user_id: this.user, booking_id: this.booking.booking_id };
    const { status, body: said } = await this.alone(() => settle('/payment', { method: 'POST', body }));
    if (status !== 200) return this.refuse(status, said);
    await this.paid(this.booking);
  },

  async release() {
    const { status, body: said } =
      await this.alone(() => settle(`/booking/${this.booking.booking_id}`, { method: 'DELETE' }));
    if (status !== 204) return this.refuse(status, said);
    [this.booking, this.state, this.notice] = [null, 'choosing', words.released];
    await this.look();
  },

  /** One thing at a time: a second click is none. */
  async alone(work) {
    this.busy = true;
    try {
      return await work();
    } finally {
      this.busy = false;
    }
  },

  refuse(status, { code }) {
    this.notice = words.refused[code] ?? words.refused.other;
    if (code === 'not_admitted' || code === 'turn_ended' || status === 401) this.state = 'outside';
    if (code === 'hold_expired') [this.state, this.booking] = ['choosing', null];
  },
})));
