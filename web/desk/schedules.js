// What is planned for a queue, and what became of earlier plans. Instants are typed and told in the time of here; what
// may be planned, the server says.
'use strict';

(() => {
  const { words: { schedules: words, policy: { fields, modes } }, say } = usher;
  const LOOK_AGAIN_AFTER_MS = 1_000;
  const LOOK_AGAIN_MAX_MS = 60_000;
  const FIELDS = ['mode', 'rate_per_second', 'active_max', 'burst', 'session_seconds', 'claim_seconds', 'hold_seconds',
    'seats_per_booking_max', 'seats_per_user_max', 'message'];
  const blank = () => Object.fromEntries(FIELDS.map(name => [name, '']));

  desk.tab('schedules', () => ({
    ...form.faults(),
    queues: [],
    queue: 'main',
    pending: [],
    done: [],
    next: null,
    at: '',
    policy: blank(),
    ramp: '',
    // The entry that is being changed, with what the form cannot show of it.
    changing: null,
    problem: '',
    notice: '',
    loaded: false,
    busy: false,
    zone: form.zone,

    init() {
      desk.whenShown('schedules', async queue => {
        if (queue) this.queue = queue;
        const { names, error } = await desk.queues();
        this.queues = names;
        if (error) this.problem = error;
        else await this.load();
      });
    },

    get isEmpty() { return this.loaded && this.pending.length === 0; },
    get hasDone() { return this.done.length > 0; },
    get hasMore() { return this.next !== null; },
    get isChange() { return this.changing !== null; },
    get heading() { return this.isChange ? words.change_title : words.add_title; },
    get saveLabel() { return this.isChange ? words.save : words.add; },
    get path() { return `/admin/queues/${this.queue}/schedule`; },

    turn() { this.cancel(); return this.load(); },

    async load() {
      const path = this.path;
      const { body, error } = await desk.ask('GET', path);
      // Another queue was chosen meanwhile.
      if (path !== this.path) return;
      this.problem = error ?? '';
      if (error) return;
      this.pending = body.pending.map(entry => this.told(entry));
      this.done = body.done.map(entry => this.told(entry));
      [this.next, this.loaded] = [body.next, true];
      this.lookAgain();
    },

    /** What is due next is soon no longer pending. */
    lookAgain() {
      clearTimeout(this.timer);
      if (this.pending.length === 0) return;
      const due = Math.min(...this.pending.map(entry => Date.parse(entry.at))) - Date.now();
      const wait = Math.min(Math.max(due, 0) + LOOK_AGAIN_AFTER_MS, LOOK_AGAIN_MAX_MS);
      this.timer = setTimeout(() => (desk.place().tab === 'schedules' ? this.load() : null), wait);
    },

    async more() {
      const { body, error } = await desk.ask('GET', `${this.path}?before=${this.next}`);
      if (error) [this.problem] = [error];
      else [this.done, this.next] = [[...this.done, ...body.done.map(entry => this.told(entry))], body.next];
    },

    /** An entry as the list tells it. */
    told(entry) {
      const value = (name, given) => (name === 'mode' ? modes[given] ?? given : form.plain(given));
      const named = Object.entries(entry.policy).sort(([a], [b]) => FIELDS.indexOf(a) - FIELDS.indexOf(b));
      const changes = named.map(([name, given]) => `${fields[name] ?? name}: ${value(name, given)}`);
      if (entry.ramp_seconds) changes.push(`${fields.ramp_seconds}: ${entry.ramp_seconds}`);
      return {
        ...entry,
        heading: `entry-${entry.entry_id}`,
        when: form.tell(entry.at),
        what: changes.join(' · '),
        made: say(words.made, { by: entry.made_by, at: form.tell(entry.made_at) }),
        outcomeText: words.outcomes[entry.outcome] ?? '',
      };
    },

    change(id) {
      const entry = this.pending.find(one => one.entry_id === id);
      this.changing = entry;
      this.at = form.written(entry.at);
      this.ramp = entry.ramp_seconds ?? '';
      this.policy = blank();
      FIELDS.forEach(name => { this.policy[name] = entry.policy[name] ?? ''; });
      [this.faults, this.notice] = [{}, ''];
      this.$refs.at.focus();
    },

    cancel() {
      [this.changing, this.at, this.ramp, this.policy, this.faults, this.problem] = [null, '', '', blank(), {}, ''];
    },

    /** The plan as it is sent. What is left empty stays as it is; `null`, which no field can say, is kept. */
    plan() {
      const kept = Object.entries(this.changing?.policy ?? {}).filter(([, value]) => value === null || value === '');
      const typed = FIELDS.filter(name => this.policy[name] !== '' && this.policy[name] !== null).map(name => {
        const value = this.policy[name];
        return [name, name === 'mode' || name === 'message' ? value : Number(value)];
      });
      const plan = { at: new Date(this.at).toISOString(), policy: Object.fromEntries([...kept, ...typed]) };
      return this.ramp === '' || this.ramp === null ? plan : { ...plan, ramp_seconds: Number(this.ramp) };
    },

    async save() {
      if (this.busy) return;
      [this.faults, this.notice] = [{}, ''];
      if (Number.isNaN(Date.parse(this.at))) {
        this.faults = { '/at': words.at_missing };
        return form.showFault(this.$refs.form);
      }
      this.busy = true;
      const answer = this.isChange
        ? await desk.ask('PUT', `${this.path}/${this.changing.entry_id}`, this.plan())
        : await desk.ask('POST', this.path, this.plan());
      this.busy = false;
      this.problem = answer.error ?? '';
      if (answer.error) {
        if (this.refuse(answer)) form.showFault(this.$refs.form);
        return;
      }
      this.notice = say(words.planned, { at: form.tell(answer.body.at) });
      this.cancel();
      await this.load();
    },

    async drop(id) {
      if (!confirm(words.sure)) return;
      const { error } = await desk.ask('DELETE', `${this.path}/${id}`);
      if (this.changing?.entry_id === id) this.cancel();
      await this.load();
      [this.problem, this.notice] = [error ?? '', error ? '' : words.dropped];
    },
  }));
})();
