// The catalogue at the desk: what is sold, and a new concert with its seat plan, row by row. What is allowed, the server
// says; what it refuses is told at the field.
'use strict';

(() => {
  const { words: { concerts: words }, say, money, lang } = usher;
  const PREVIEW_AFTER_MS = 200;
  // Where a refusal that names no field belongs.
  const PLACES = { concert_has_bookings: '/queue', queue_not_found: '/queue' };

  /** A price as buyers read it, in minor units; `null`: it cannot be read. */
  function minor(text, currency) {
    const digits = usher.digits(currency);
    const [, whole, part = ''] = text.trim().replace(/,(?=\d{3}(?!\d))/g, '').match(/^(\d{1,12})(?:\.(\d+))?$/) ?? [];
    return whole === undefined || part.length > digits ? null : Number(whole + part.padEnd(digits, '0'));
  }

  const blank = queue => ({ title: '', place: '', starts_at: '', queue });

  desk.tab('concerts', () => ({
    ...form.faults(),
    concerts: [],
    queues: [],
    loaded: false,
    problem: '',
    notice: '',
    busy: false,
    // What is being written: `null` nothing, 0 a new concert, else the id of the one that is changed.
    editing: null,
    fields: blank('main'),
    tiers: [],
    rows: [],
    chosen: [],
    adding: { first: 'A', count: 10, seats: '20', tier: 1 },
    bulk: { tier: 1, seats: '' },
    sums: [],
    zone: form.zone,

    init() {
      this.currency = this.$el.querySelector('[data-currency]').dataset.currency;
      this.$watch('tiers', () => this.retell());
      desk.whenShown('concerts', () => this.load());
    },

    async load() {
      const [concerts, queues] = await Promise.all([desk.ask('GET', '/admin/concerts'), desk.queues()]);
      this.problem = concerts.error ?? queues.error ?? '';
      if (this.problem) return;
      this.concerts = concerts.body.concerts.map(concert => this.told(concert));
      this.queues = queues.names;
      this.loaded = true;
    },

    /** A concert as the list tells it. */
    told(concert) {
      const count = seats => seats.toLocaleString(lang);
      const line = (name, price, { seats_free: free, seats_held: held, seats_sold: sold }) =>
        ({ name, price, free: count(free), held: count(held), sold: count(sold) });
      const tiers = concert.tiers.map(tier => line(tier.name, money(tier.price, this.currency), tier));
      return {
        ...concert,
        key: concert.concert_id,
        heading: `concert-${concert.concert_id}`,
        starts: form.tell(concert.starts_at * 1_000),
        lines: tiers.length > 1 ? [...tiers, line(words.all, '', concert)] : tiers,
      };
    },

    get isList() { return this.editing === null; },
    get isForm() { return this.editing !== null; },
    get isNew() { return this.editing === 0; },
    get isEmpty() { return this.loaded && this.concerts.length === 0; },
    get heading() { return this.isNew ? words.new : words.change; },
    get saveLabel() { return this.isNew ? words.create : words.save; },

    // One concert.

    begin() {
      this.open(0, blank(this.queues.includes('main') ? 'main' : this.queues[0]));
      this.tiers = [{ id: 1, name: '', price: '' }];
      [this.rows, this.chosen] = [[], []];
      this.redraw();
    },

    change(id) {
      const { title, place, queue, starts_at: startsAt } = this.concerts.find(concert => concert.concert_id === id);
      this.open(id, { title, place, queue, starts_at: form.written(startsAt * 1_000) });
      this.before = { ...this.fields };
    },

    open(id, fields) {
      [this.editing, this.fields, this.faults, this.notice, this.problem] = [id, fields, {}, '', ''];
      this.$nextTick(() => this.$refs.title.focus());
    },

    cancel() { [this.editing, this.faults, this.problem] = [null, {}, '']; },

    announced() { return { ...this.fields, starts_at: Math.floor(Date.parse(this.fields.starts_at) / 1_000) }; },

    async save() {
      if (this.busy) return;
      this.faults = {};
      if (Number.isNaN(Date.parse(this.fields.starts_at))) this.faults['/starts_at'] = words.starts_at_missing;
      const [sent, where] = this.isNew ? this.made() : this.changed();
      if (Object.keys(this.faults).length > 0) return this.showFaults();
      if (this.endsSale && !confirm(words.ends_sale)) return;
      this.busy = true;
      const answer = await desk.ask(...sent);
      this.busy = false;
      this.problem = answer.error ?? '';
      if (answer.error) {
        if (this.refuse(answer, { ...PLACES, ...where })) this.showFaults();
        return;
      }
      this.notice = say(this.isNew ? words.created : words.saved, { title: this.fields.title });
      this.cancel();
      await this.load();
    },

    /** Whether a concert on sale is moved to an instant that has passed. */
    get endsSale() {
      const isMoved = !this.isNew && this.fields.starts_at !== this.before.starts_at;
      return isMoved && Date.parse(this.fields.starts_at) < Date.now();
    },

    /** Only what was changed here: what somebody else changed meanwhile stays. */
    changed() {
      const announced = Object.entries(this.announced());
      const told = announced.filter(([name]) => this.fields[name] !== this.before[name]);
      return [['PUT', `/admin/concerts/${this.editing}`, Object.fromEntries(told)], {}];
    },

    made() {
      this.tiers.forEach(({ id, price }) => {
        if (minor(price, this.currency) === null) this.faults[`/price/${id}`] = words.price_unread;
      });
      this.rows.forEach((row, index) => {
        if (!plan.isReadable(row)) this.faults[`/row/${index}`] = words.seats_unread;
      });
      const parts = plan.parts(this.rows);
      const tier = id => this.tiers.find(one => one.id === id);
      const told = parts.map(part => ({
        name: tier(part.tier).name,
        price: minor(tier(part.tier).price, this.currency),
        seats: plan.seats(part.indices.map(index => this.rows[index])),
      }));
      const where = { '/tiers': '/rows' };
      parts.forEach((part, at) => {
        where[`/tiers/${at}/name`] = `/name/${part.tier}`;
        where[`/tiers/${at}/price`] = `/price/${part.tier}`;
      });
      this.parts = parts;
      return [['POST', '/admin/concerts', { ...this.announced(), tiers: told }], where];
    },

    /** What is wrong with the seats of a part is told at the row that it speaks of, else at the part's first. */
    showFaults() {
      Object.keys(this.faults).forEach(pointer => {
        const part = this.parts?.[pointer.match(/^\/tiers\/(\d+)\/seats/)?.[1]];
        if (!part) return;
        const [, seat] = this.faults[pointer].match(/seat `(\S+)` is named twice/) ?? [];
        const isOdd = index => (seat ? plan.seatsOf(this.rows[index]).includes(seat) : !/^[A-Za-z0-9-]{1,14}$/.test(this.rows[index].name));
        this.faults[`/row/${part.indices.findLast(isOdd) ?? part.indices[0]}`] = this.faults[pointer];
        delete this.faults[pointer];
      });
      this.drawRows();
      form.showFault(this.$refs.form);
    },

    // Tiers.

    addTier() {
      const id = Math.max(...this.tiers.map(tier => tier.id)) + 1;
      this.tiers.push({ id, name: '', price: '' });
      this.$nextTick(() => document.getElementById(`tier-name-${id}`).focus());
    },

    get mayDropTier() { return this.tiers.length > 1; },

    /** Its rows go to the tier that is left first. */
    dropTier(id) {
      this.tiers = this.tiers.filter(tier => tier.id !== id);
      const [{ id: other }] = this.tiers;
      this.rows.forEach(row => { if (row.tier === id) row.tier = other; });
      [this.adding.tier, this.bulk.tier] = [other, other];
      this.redraw();
    },

    tierName(tier) { return tier.name || say(words.tier_number, { number: this.tiers.indexOf(tier) + 1 }); },

    /** Where tiers are chosen from, their names have changed. */
    retell() {
      const names = this.tiers.map(tier => `${tier.id} ${this.tierName(tier)}`).join('\n');
      if (names !== this.names) this.$refs.rows.querySelectorAll('select').forEach(select => this.tell(select));
      this.names = names;
      this.previewSoon();
    },

    tell(select) {
      const options = this.tiers.map(tier => new Option(this.tierName(tier), tier.id));
      const { tier } = this.rows[select.closest('tr').dataset.row] ?? {};
      select.replaceChildren(...options);
      select.value = String(tier);
    },

    // Rows. A great hall has hundreds: they are drawn by hand, and listened to in one place.

    addRows() {
      const { first, count, seats, tier } = this.adding;
      if (first === '' || !(count >= 1 && count <= 1_000)) return;
      this.rows.push(...plan.rows(first, count, seats, Number(tier)));
      this.adding.first = plan.rows(this.rows.at(-1).name, 2)[1].name;
      this.redraw();
    },

    redraw() {
      this.faults = {};
      this.chosen = [];
      this.drawRows();
      this.preview();
    },

    drawRows() {
      const blankRow = this.$refs.blank.content.firstElementChild;
      const drawn = this.rows.map((row, index) => {
        const line = blankRow.cloneNode(true);
        line.dataset.row = index;
        line.querySelectorAll('[data-label]').forEach(part => {
          part.setAttribute('aria-label', say(part.dataset.label, { row: row.name }));
        });
        const part = name => line.querySelector(`[data-part="${name}"]`);
        [part('name').value, part('seats').value, part('pick').checked] = [row.name, row.seats, this.chosen.includes(index)];
        this.mark(line, part, index);
        return line;
      });
      this.$refs.rows.replaceChildren(...drawn);
      this.$refs.rows.querySelectorAll('select').forEach(select => this.tell(select));
    },

    mark(line, part, index) {
      const fault = this.fault(`/row/${index}`);
      if (!fault) return;
      part('fault').textContent = fault;
      part('fault').id = `row-fault-${index}`;
      part('fault').hidden = false;
      for (const name of ['name', 'seats']) {
        part(name).setAttribute('aria-invalid', 'true');
        part(name).setAttribute('aria-describedby', `row-fault-${index}`);
      }
    },

    typed({ target }) {
      const index = Number(target.closest('tr').dataset.row);
      const { part } = target.dataset;
      if (part === 'pick') {
        this.chosen = target.checked ? [...this.chosen, index] : this.chosen.filter(other => other !== index);
        return;
      }
      this.rows[index][part] = part === 'tier' ? Number(target.value) : target.value;
      this.previewSoon();
    },

    pressed({ target }) {
      const { act } = target.closest('button')?.dataset ?? {};
      if (!act) return;
      const index = Number(target.closest('tr').dataset.row);
      if (act === 'drop') this.rows.splice(index, 1);
      else if (index > 0) [this.rows[index - 1], this.rows[index]] = [this.rows[index], this.rows[index - 1]];
      this.redraw();
      const at = Math.max(0, Math.min(act === 'up' ? index - 1 : index, this.rows.length - 1));
      this.$refs.rows.children[at]?.querySelector(`[data-act="${act}"]`).focus();
    },

    get hasRows() { return this.rows.length > 0; },
    get hasNoneChosen() { return this.chosen.length === 0; },
    get chosenText() { return say(words.rows_chosen, { count: this.chosen.length.toLocaleString(lang) }); },

    pickAll({ target }) {
      this.chosen = target.checked ? this.rows.map((_, index) => index) : [];
      this.$refs.rows.querySelectorAll('[data-part="pick"]').forEach(box => { box.checked = target.checked; });
    },

    /** Does something to the rows that are chosen, which stay chosen. */
    withChosen(work) {
      const { chosen } = this;
      chosen.forEach(index => work(this.rows[index]));
      this.redraw();
      this.chosen = chosen;
      this.drawRows();
    },

    moveChosen() { this.withChosen(row => { row.tier = Number(this.bulk.tier); }); },
    resizeChosen() { if (this.bulk.seats) this.withChosen(row => { row.seats = this.bulk.seats; }); },
    dropChosen() {
      this.rows = this.rows.filter((_, index) => !this.chosen.includes(index));
      this.redraw();
    },

    // The hall as buyers will see it, and what it is worth.

    previewSoon() {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.preview(), PREVIEW_AFTER_MS);
    },

    preview() {
      const price = tier => minor(tier.price, this.currency) ?? 0;
      const line = (id, name, seats, worth) =>
        ({ id, name, seats: seats.toLocaleString(lang), worth: money(worth, this.currency) });
      const counted = this.tiers.map(tier => {
        const rows = this.rows.filter(row => row.tier === tier.id);
        return [tier, rows.reduce((sum, row) => sum + plan.count(row), 0)];
      });
      const seats = counted.reduce((sum, [, count]) => sum + count, 0);
      const worth = counted.reduce((sum, [tier, count]) => sum + count * price(tier), 0);
      this.sums = [
        ...counted.map(([tier, count]) => line(tier.id, this.tierName(tier), count, count * price(tier))),
        line(0, words.all, seats, worth),
      ];
      this.total = seats;
      const tiers = this.tiers.map(tier => ({ id: tier.id, name: this.tierName(tier), price: price(tier) }));
      const hall = new Hall(seats > plan.seatsMax ? { seats: [], tiers: [] } : plan.hall(this.rows, tiers));
      hall.draw(this.$refs.hall, tier => money(tier.price, this.currency));
      hall.show('A'.repeat(hall.order.length));
      this.$refs.hall.setAttribute('aria-label', say(words.hall, { seats: seats.toLocaleString(lang), rows: this.rows.length.toLocaleString(lang) }));
    },
  }));
})();
