// What the tabs of the desk share: questions to the operators' API, figures as they come, which tab is shown. What a tab
// does stands in its own file, which is fetched when the tab is first shown.
'use strict';

const desk = (() => {
  const { words } = usher;
  const CONNECT_AGAIN_MS = 2_000;

  /** What went wrong, as people read it: our words for a code, else the server's, and each field that is wrong. */
  function problem(said) {
    const fields = (said?.errors ?? []).map(({ pointer, reason }) => `${pointer.slice(1)} ${reason}`);
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
      const said = isJson ? await answer.json() : null;
      return { status: answer.status, body: said, etag: answer.headers.get('ETag'), error: answer.ok ? null : problem(said) };
    } catch {
      return { status: 0, body: null, etag: null, error: words.offline };
    }
  }

  /** Where the address leads: `#concerts/12` is the tab `concerts`, at `12`. */
  function place() {
    const [tab, ...rest] = decodeURIComponent(location.hash.slice(1)).split('/');
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
      setTimeout(connect, CONNECT_AGAIN_MS);
    });
  }

  /** Calls `tell` with the figures of every half second, and with `null` while they do not come. */
  function figures(tell) {
    listeners.push(tell);
    if (listeners.length === 1) connect();
  }

  /** What a tab is made of: its script calls this, and its part of the page comes to life. */
  const tab = (name, data) => Alpine.data(name, data);

  const fetched = new Map();
  function fetchScript(address) {
    const load = (resolve, reject) => {
      const script = Object.assign(document.createElement('script'), { src: address, onload: resolve, onerror: reject });
      document.head.append(script);
    };
    if (!fetched.has(address)) fetched.set(address, new Promise(load));
    return fetched.get(address);
  }

  document.addEventListener('alpine:init', () => Alpine.data('desk', () => ({
    shown: '',
    loaded: {},
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
      const scripts = document.querySelector(`[data-tab="${name}"]`).dataset.scripts.split(' ');
      try {
        for (const script of scripts) await fetchScript(script);
        this.loaded[name] = true;
      } catch {
        this.problem = words.offline;
      }
    },

    async signOut() {
      await ask('DELETE', '/admin/session');
      location.reload();
    },
  })));

  return { ask, place, whenShown, figures, tab };
})();
