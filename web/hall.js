// The hall: seats drawn from the catalogue in its order, what each is right now, and which go well together.
'use strict';

const SEAT_STATES = { A: 'free', H: 'held', S: 'sold' };
// Seats that have no rows in their names are drawn so many in a line.
const PER_LINE = 20;

class Hall {
  /** `tiers` as `GET /concerts/{id}` tells them, `order` the seats as its letters come. */
  constructor({ tiers, seats: order }) {
    this.order = order;
    this.tierOf = new Map(tiers.flatMap(tier => tier.seats.map(seat => [seat, tier])));
    this.states = new Map(order.map(seat => [seat, 'sold']));
    this.buttons = new Map();
    this.rows = [];
    order.forEach((seat, index) => {
      const dash = seat.lastIndexOf('-');
      const name = dash > 0 ? seat.slice(0, dash) : `${Math.floor(index / PER_LINE)}`;
      if (this.rows.at(-1)?.name !== name) this.rows.push({ name, isNamed: dash > 0, seats: [] });
      this.rows.at(-1).seats.push(seat);
    });
  }

  draw(into, describe) {
    this.describe = describe;
    const lines = this.rows.map(row => {
      const line = document.createElement('div');
      line.className = 'line';
      const label = document.createElement('span');
      label.textContent = row.isNamed ? row.name : '';
      line.append(label, ...row.seats.map(seat => this.button(seat)));
      return line;
    });
    into.replaceChildren(...lines);
  }

  button(seat) {
    const button = document.createElement('button');
    Object.assign(button, { type: 'button', className: 'seat sold', disabled: true });
    button.dataset.seat = seat;
    button.textContent = seat.slice(seat.lastIndexOf('-') + 1);
    this.buttons.set(seat, button);
    return button;
  }

  /** What each seat is by the letters of the server, and what this person has chosen. */
  show(letters, chosen) {
    this.order.forEach((seat, index) => {
      const state = SEAT_STATES[letters[index]] ?? 'sold';
      this.states.set(seat, state);
      const shown = chosen.has(seat) ? 'mine' : state;
      const button = this.buttons.get(seat);
      if (button.dataset.state === shown) return;
      button.dataset.state = shown;
      button.className = `seat ${shown}`;
      button.disabled = shown === 'held' || shown === 'sold';
      button.setAttribute('aria-pressed', shown === 'mine');
      button.setAttribute('aria-label', this.describe(seat, this.tierOf.get(seat), shown));
    });
  }

  isFree(seat) { return this.states.get(seat) === 'free'; }

  price(seats) { return seats.reduce((sum, seat) => sum + this.tierOf.get(seat).price, 0); }

  /** `count` free seats side by side: in the foremost row that has them, nearest to its middle. */
  together(count, isWanted = () => true) {
    for (const { seats } of this.rows) {
      const middle = (seats.length - count) / 2;
      const starts = seats.slice(0, seats.length - count + 1).map((_, start) => start);
      starts.sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
      const fits = start => seats.slice(start, start + count).every(seat => this.isFree(seat) && isWanted(seat));
      const start = starts.find(fits);
      if (start !== undefined) return seats.slice(start, start + count);
    }
    return [];
  }

  /** Free seats side by side in place of others that are gone: as many, of the same price, and as near as there are. */
  instead(gone) {
    const { price } = this.tierOf.get(gone[0]);
    const at = this.order.indexOf(gone[0]);
    let nearest = [], distance = Infinity;
    for (const { seats } of this.rows) {
      for (let start = 0; start + gone.length <= seats.length; start += 1) {
        const run = seats.slice(start, start + gone.length);
        const away = Math.abs(this.order.indexOf(run[0]) - at);
        const fits = away < distance && run.every(seat => this.isFree(seat) && this.tierOf.get(seat).price === price);
        if (fits) [nearest, distance] = [run, away];
      }
    }
    return nearest.length > 0 ? nearest : this.together(gone.length);
  }
}
