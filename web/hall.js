// The hall: seats drawn from the catalogue in its order, what each is right now, and which go well together. A row is
// drawn when it comes near to what is seen, so that a great hall is there as soon as a small one.
'use strict';

const SEAT_STATES = { A: 'free', H: 'held', S: 'sold' };
// Seats that have no rows in their names are drawn so many in a line.
const PER_LINE = 20;
// An aisle is drawn as wide as the seats that are missing, up to so many.
const AISLE_MAX = 20;
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

/** How many seats are missing before each seat of a row. Where odd and even numbers part, neighbours are two apart. */
function aisles(seats) {
  const numbers = seats.map(seat => Number(seat.slice(seat.lastIndexOf('-') + 1)));
  const steps = numbers.map((number, at) => Math.abs(number - numbers[at - 1]));
  const seen = new Map();
  steps.slice(1).forEach(step => seen.set(step, (seen.get(step) ?? 0) + 1));
  const [usual] = [...seen].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0] ?? [1];
  return steps.map(step => (usual > 0 && step > usual ? Math.ceil(step / usual) - 1 : 0));
}

class Hall {
  /** `tiers` as `GET /concerts/{id}` tells them, `order` the seats as its letters come. */
  constructor({ tiers, seats: order }) {
    this.order = order;
    this.tiers = tiers;
    this.tierOf = new Map(tiers.flatMap(tier => tier.seats.map(seat => [seat, tier])));
    this.indexOf = new Map(order.map((seat, index) => [seat, index]));
    this.letters = '';
    this.chosen = new Set();
    this.buttons = new Map();
    this.rows = [];
    order.forEach((seat, index) => {
      const dash = seat.lastIndexOf('-');
      const name = dash > 0 ? seat.slice(0, dash) : `${Math.floor(index / PER_LINE)}`;
      if (this.rows.at(-1)?.name !== name) this.rows.push({ name, isNamed: dash > 0, seats: [] });
      this.rows.at(-1).seats.push(seat);
    });
    this.rows.forEach(row => { row.aisles = row.isNamed ? aisles(row.seats) : row.seats.map(() => 0); });
  }

  /** Draws the hall. `price` says what a tier costs; without `describe`, which says what a seat is, it is a picture. */
  draw(into, price, describe) {
    this.describe = describe;
    this.buttons.clear();
    const near = { root: into, rootMargin: '100% 0px' };
    const seen = new IntersectionObserver(entries => {
      entries.filter(entry => entry.isIntersecting).forEach(({ target }) => this.fill(this.rows[target.dataset.row]));
    }, near);
    let above = '';
    const lines = this.rows.flatMap((row, index) => {
      row.line = document.createElement('div');
      row.line.className = 'line';
      row.line.dataset.row = index;
      row.isFilled = false;
      seen.observe(row.line);
      const here = [...new Set(row.seats.map(seat => this.tierOf.get(seat)))];
      const told = here.map(tier => `${tier.name} ${price(tier)}`).join(' · ');
      if (this.tiers.length < 2 || told === above) return [row.line];
      above = told;
      const head = document.createElement('p');
      [head.className, head.textContent] = ['tier', told];
      return [head, row.line];
    });
    this.seen?.disconnect();
    this.seen = seen;
    into.replaceChildren(...lines);
    if (!describe) return;
    into.addEventListener('keydown', event => this.steer(event));
    into.addEventListener('focusin', event => this.stopAt(event.target.dataset.seat));
  }

  fill(row) {
    if (row.isFilled) return;
    row.isFilled = true;
    this.seen.unobserve(row.line);
    const label = document.createElement('span');
    label.textContent = row.isNamed ? row.name : '';
    const places = row.seats.flatMap((seat, at) => [...this.aisle(row.aisles[at]), this.button(seat)]);
    row.line.append(label, ...places);
    row.seats.forEach(seat => this.paint(seat));
  }

  aisle(missing) {
    return Array.from({ length: Math.min(missing, AISLE_MAX) }, () => {
      const place = document.createElement('i');
      place.className = 'aisle';
      return place;
    });
  }

  button(seat) {
    const button = document.createElement(this.describe ? 'button' : 'i');
    button.dataset.seat = seat;
    button.textContent = seat.slice(seat.lastIndexOf('-') + 1);
    if (this.describe) Object.assign(button, { type: 'button', tabIndex: seat === this.stop ? 0 : -1 });
    this.buttons.set(seat, button);
    return button;
  }

  /** What each seat is by the letters of the server, and what this person has chosen. */
  show(letters, chosen = new Set()) {
    const changed = new Set([...this.chosen, ...chosen]);
    if (letters !== this.letters) {
      this.order.forEach((seat, index) => letters[index] !== this.letters[index] && changed.add(seat));
    }
    [this.letters, this.chosen] = [letters, chosen];
    changed.forEach(seat => this.paint(seat));
    if (!this.mayChoose(this.stop)) this.stopAt(this.order.find(seat => this.mayChoose(seat)));
  }

  state(seat) { return SEAT_STATES[this.letters[this.indexOf.get(seat)]] ?? 'sold'; }

  paint(seat) {
    const button = this.buttons.get(seat);
    const shown = this.chosen.has(seat) ? 'mine' : this.state(seat);
    if (!button || button.dataset.state === shown) return;
    button.dataset.state = shown;
    button.className = `seat ${shown}`;
    if (!this.describe) return;
    button.disabled = !this.mayChoose(seat);
    button.setAttribute('aria-pressed', shown === 'mine');
    button.setAttribute('aria-label', this.describe(seat, this.tierOf.get(seat), shown));
  }

  isFree(seat) { return this.state(seat) === 'free'; }

  mayChoose(seat) { return this.isFree(seat) || this.chosen.has(seat); }

  price(seats) { return seats.reduce((sum, seat) => sum + this.tierOf.get(seat).price, 0); }

  // The keyboard: the tab key stops once in the hall, and arrows go from seat to seat.

  stopAt(seat) {
    if (!seat || seat === this.stop) return;
    const button = name => this.buttons.get(name) ?? {};
    button(this.stop).tabIndex = -1;
    this.stop = seat;
    if (this.describe) this.fill(this.rowOf(seat));
    button(seat).tabIndex = 0;
  }

  steer(event) {
    const [down, right] = STEPS[event.key] ?? [];
    const { seat } = event.target.dataset;
    if (down === undefined || !seat) return;
    event.preventDefault();
    const next = right ? this.beside(seat, right) : this.behind(seat, down);
    if (!next) return;
    this.stopAt(next);
    this.buttons.get(next).focus();
  }

  rowOf(seat) { return this.rows.find(row => row.seats.includes(seat)); }

  beside(seat, step) {
    const { seats } = this.rowOf(seat);
    const there = step > 0 ? seats.slice(seats.indexOf(seat) + 1) : seats.slice(0, seats.indexOf(seat)).reverse();
    return there.find(other => this.mayChoose(other));
  }

  behind(seat, step) {
    const row = this.rowOf(seat);
    const side = row.seats.indexOf(seat) - row.seats.length / 2;
    for (let at = this.rows.indexOf(row) + step; this.rows[at]; at += step) {
      const { seats } = this.rows[at];
      const away = other => Math.abs(seats.indexOf(other) - seats.length / 2 - side);
      const [nearest] = seats.filter(other => this.mayChoose(other)).sort((a, b) => away(a) - away(b));
      if (nearest) return nearest;
    }
    return undefined;
  }

  // Seats side by side.

  /** Every `count` free seats of a row with no aisle between them, and how far they are from its middle. */
  runs({ seats, aisles: missing }, count, isWanted) {
    const middle = (seats.length - count) / 2;
    const runs = [];
    let free = 0;
    seats.forEach((seat, at) => {
      if (!this.isFree(seat) || !isWanted(seat)) free = 0;
      else free = missing[at] > 0 ? 1 : free + 1;
      const start = at + 1 - count;
      if (free >= count) runs.push({ seats: seats.slice(start, at + 1), away: Math.abs(start - middle) });
    });
    return runs;
  }

  /** `count` free seats side by side: in the foremost row that has them, nearest to its middle. */
  together(count, isWanted = () => true) {
    for (const row of this.rows) {
      const [best] = this.runs(row, count, isWanted).sort((a, b) => a.away - b.away);
      if (best) return best.seats;
    }
    return [];
  }

  /** Free seats side by side in place of others that are gone: as many, of the same price, and as near as there are. */
  instead(gone) {
    const { price } = this.tierOf.get(gone[0]);
    const away = ({ seats: [first] }) => Math.abs(this.indexOf.get(first) - this.indexOf.get(gone[0]));
    const runs = this.rows.flatMap(row => this.runs(row, gone.length, seat => this.tierOf.get(seat).price === price));
    const nearest = runs.reduce((best, run) => (best && away(best) <= away(run) ? best : run), null);
    return nearest?.seats ?? this.together(gone.length);
  }
}
