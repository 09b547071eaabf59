// The audit trail, newest first: who did what, and from what to what.
'use strict';

(() => {
  const { say, words: { audit: words, policy: { fields, modes } } } = usher;
  const PAGE = 50;
  const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value);

  /** Every value by its path: what stands inside another is told by itself. */
  function leaves(value, path = []) {
    if (!isObject(value)) return [[path, value]];
    return Object.entries(value).flatMap(([name, inner]) => leaves(inner, [...path, name]));
  }

  function said(name, value) {
    if (name === 'mode') return modes[value] ?? form.plain(value);
    if (name === 'starts_at' && typeof value === 'number') return form.tell(value * 1_000);
    if (name?.endsWith('_at') || name === 'at') return typeof value === 'string' ? form.tell(value) : form.plain(value);
    return form.plain(value);
  }

  /** What differs, a line each; of something new, or something gone, all that it is in one. */
  function changes({ before, after }) {
    const [was, is] = [before, after].map(value => new Map(leaves(value).map(([path, inner]) => [path.join('.'), inner])));
    const isWhole = before === null || after === null;
    const isTold = path => !isWhole || ![null, ''].includes((before === null ? is : was).get(path));
    const differ = path => isTold(path) && JSON.stringify(was.get(path)) !== JSON.stringify(is.get(path));
    const paths = [...new Set([...was.keys(), ...is.keys()])].filter(path => path !== '' || !isObject(before ?? after));
    const lines = paths.filter(differ).map(path => {
      const name = path.split('.').at(-1);
      const label = path === '' ? '' : `${fields[name] ?? words.fields[name] ?? path}: `;
      if (isWhole) return label + said(name, (before === null ? is : was).get(path));
      return `${label}${said(name, was.get(path))} → ${said(name, is.get(path))}`;
    });
    return isWhole && lines.length > 0 ? [lines.join(' · ')] : lines;
  }

  function told(entry) {
    const lines = entry.before === null && entry.after === null ? [] : changes(entry);
    const [kind, name] = entry.target.split(':');
    const target = say(words.targets[kind] ?? entry.target, { name });
    return { ...entry, target, what: words.actions[entry.action] ?? entry.action, when: form.tell(entry.at), changes: lines, hasChanges: lines.length > 0 };
  }

  desk.tab('audit', () => ({
    queues: [],
    queue: '',
    entries: [],
    next: null,
    problem: '',
    loaded: false,

    init() {
      desk.whenShown('audit', async () => {
        this.queues = (await desk.queues()).names;
        await this.load();
      });
    },

    get isEmpty() { return this.loaded && this.entries.length === 0; },
    get hasMore() { return this.next !== null; },

    /** A page of the trail; of another queue than is chosen by now it is dropped. */
    async page(before) {
      const { queue } = this;
      const asked = new URLSearchParams({ limit: PAGE, ...(queue && { queue }), ...(before && { before }) });
      const { body, error } = await desk.ask('GET', `/admin/audit?${asked}`);
      if (queue !== this.queue) return [];
      this.problem = error ?? '';
      if (error) return [];
      [this.next, this.loaded] = [body.next, true];
      return body.entries.map(told);
    },

    async load() { this.entries = await this.page(); },

    async more() { this.entries = [...this.entries, ...await this.page(this.next)]; },
  }));
})();
