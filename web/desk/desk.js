// What the tabs of the desk share: questions to the operators' API, figures as they come, which tab is shown. A tab is
// fetched when it is first shown; what it does stands in its own file.
'use strict';

const desk = (() => {
  const { words, say } = usher;
  const TRY_AGAIN_MS = 2_000;

  /** What the server says of a field, in the language of the page; the sentences come with the tabs that have forms. */
  function reason(said) {
    const values = [];
    const sentence = said.replace(/`([^`]*)`|\b\d[\d.]*\b/g, (whole, quoted) => `{${values.push(quoted ?? whole) - 1}}`);
    const known = words.reasons?.[sentence];
    return known ? say(known, values) : said;
  }

  /** What went wrong, as people read it: our words for a code, else the server's, and each field that is wrong. */
  function problem(said) {
    const fields = (said?.errors ?? []).map(field => `${field.pointer.slice(1)}: ${reason(field.reason)}`);
    return [words.refused[said?.code] ?? said?.detail ?? words.refused.other, ...fields].join(' · ');
  }

  /** Asks as this operator. It never throws: `error` says what went wrong, `status` is 0 when nothing answered. */
  async function ask(method, path, body, headers = {}) {
    const sent = { 'X-Usher-Desk': '1', ...headers };
    if (body !== undefined) sent['Content-Type'] = 'application/json';
    try {
      const answer = await fetch(path, { method, headers: sent, cache: 'no-store', body: body && JSON.stringify(body) });
      // The session is over: the desk is behind its door again.
      if (answer.status === 401) location.reload();
      const isJson = /json/.test(answer.headers.get('Content-Type'));
      const said = isJson ? await answer.json() : await answer.text();
      return { status: answer.status, body: said, etag: answer.headers.get('ETag'), error: answer.ok ? null : problem(said) };
    } catch {
      return { status: 0, body: null, etag: null, error: words.offline };
    }
  }

  /** The names of all queues, or what went wrong. */
  async function queues() {
    const { body, error } = await ask('GET', '/admin/queues');
    return { names: body?.queues?.map(({ name }) => name) ?? [], error };
  }

  /** What an address says behind its `#`; what nobody wrote there says nothing. */
  function decoded(hash) {
    try {
      return decodeURIComponent(hash.slice(1));
    } catch {
      return '';
    }
  }

  /** Where the address leads: `#concerts/12` is the tab `concerts`, at `12`. */
  function place() {
    const [tab, ...rest] = decoded(location.hash).split('/');
    const known = document.querySelector(`[data-tab="${CSS.escape(tab)}"]`);
    return known ? { tab, rest: rest.join('/') } : { tab: 'queues', rest: '' };
  }

  /** Calls `then` with what stands behind the tab's name, now if it is shown and whenever it is shown anew. */
  function whenShown(tab, then) {
    const look = () => place().tab === tab && then(place().rest);
    window.addEventListener('hashchange', look);
    look();
  }

  const listeners = [];
  function connect() {
    const stream = new EventSource('/admin/events');
    stream.addEventListener('figures', event => listeners.forEach(tell => tell(JSON.parse(event.data))));
    stream.addEventListener('error', async () => {
      listeners.forEach(tell => tell(null));
      // A browser takes up again what broke, but not what was refused: a session may be over.
      if (stream.readyState !== EventSource.CLOSED) return;
      await ask('GET', '/admin/queues');
      setTimeout(connect, TRY_AGAIN_MS);
    });
  }

  /** Calls `tell` with the figures of every half second, and with `null` while they do not come. */
  function figures(tell) {
    listeners.push(tell);
    if (listeners.length === 1) connect();
  }

  /** What a tab is made of: its script calls this, and its part of the page comes to life. */
  const tab = (name, data) => Alpine.data(name, data);

  const begun = new Map();
  /** Does `work` once for each name; what failed is done anew. */
  function once(name, work) {
    const again = error => {
      begun.delete(name);
      throw error;
    };
    if (!begun.has(name)) begun.set(name, work().catch(again));
    return begun.get(name);
  }

  /** Loads a script or a style as a tab names it. Scripts run in the order in which they were asked for. */
  function load(named) {
    const element = document.createElement(named.localName);
    for (const { name, value } of named.attributes) element.setAttribute(name, value);
    return new Promise((resolve, reject) => {
      Object.assign(element, { async: false, onload: resolve, onerror: () => reject(new Error(words.offline)) });
      document.head.append(element);
    });
  }

  /** Fetches a tab: its words, what it is drawn and run with, then its part of the page, which comes to life. */
  async function fetchTab(name) {
    const { body, error } = await ask('GET', `/admin/desk/${name}?lang=${usher.lang}`);
    if (error) throw new Error(error);
    const { content } = Object.assign(document.createElement('template'), { innerHTML: body });
    for (const { dataset, textContent } of content.querySelectorAll('[data-words]')) words[dataset.words] = JSON.parse(textContent);
    const needed = [...content.querySelectorAll('script[src], link')];
    await Promise.all(needed.map(named => once(named.outerHTML, () => load(named))));
    document.querySelector(`[data-tab="${name}"]`).append(content.querySelector('[x-data]'));
  }

  document.addEventListener('alpine:init', () => Alpine.data('desk', () => ({
    shown: '',
    problem: '',

    init() {
      window.addEventListener('hashchange', () => this.turn());
      this.turn();
    },

    is(name) { return this.shown === name; },
    current(name) { return this.shown === name ? 'page' : null; },

    async turn() {
      const { tab: name } = place();
      this.shown = name;
      clearTimeout(this.timer);
      try {
        await once(name, () => fetchTab(name));
        this.problem = '';
      } catch ({ message }) {
        this.problem = message;
        this.timer = setTimeout(() => this.turn(), TRY_AGAIN_MS);
      }
    },

    async signOut() {
      const { error } = await ask('DELETE', '/admin/session');
      if (error) this.problem = error;
      else location.reload();
    },
  })));

  return { ask, reason, queues, place, whenShown, figures, tab };
})();
