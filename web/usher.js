// What all pages share: the token in its cookie, the person, questions to the API, words and money.
'use strict';

const usher = (() => {
  const cookie = {
    get: () => document.cookie.match(/(?:^|; )usher_token=([^;]*)/)?.[1] ?? null,
    set: token => {
      const secure = location.protocol === 'https:' ? '; Secure' : '';
      document.cookie = `usher_token=${token}; Path=/; Max-Age=86400; SameSite=Strict${secure}`;
    },
    drop: () => { document.cookie = 'usher_token=; Path=/; Max-Age=0; SameSite=Strict'; },
  };

  /** What a token says of itself; it is checked by the server, here it only tells whose it is. */
  function claims(token) {
    try {
      return JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')));
    } catch {
      return {};
    }
  }

  /** The token of a queue, if this browser has one. */
  function tokenOf(queue) {
    const token = cookie.get();
    return token && claims(token).aud === `usher:queue:${queue}` ? token : null;
  }

  /** Takes what a link brought behind its `#`, which no server sees, and leaves it in no history. */
  function unpack(queue) {
    const brought = new URLSearchParams(location.hash.slice(1));
    if (brought.size > 0) history.replaceState(null, '', location.pathname + location.search);
    if (brought.has('identity')) sessionStorage.setItem('usher_identity', brought.get('identity'));
    const token = brought.get('token');
    if (token && claims(token).aud === `usher:queue:${queue}`) cookie.set(token);
  }

  /** What the shop's identity provider says of this person, for as long as the tab is open. */
  function identity() { return sessionStorage.getItem('usher_identity'); }

  /** Asks the API as this person. `wait` is what it says of when to ask again, in milliseconds. */
  async function ask(path, { method = 'GET', body, key } = {}) {
    const headers = { 'Content-Type': 'application/json' };
    const token = cookie.get();
    if (token) headers['Token-Auth'] = token;
    if (identity()) headers.Authorization = `Bearer ${identity()}`;
    if (key) headers['Idempotency-Key'] = key;
    const answer = await fetch(path, { method, headers, cache: 'no-store', body: body && JSON.stringify(body) });
    const said = answer.status === 204 ? {} : await answer.json();
    return { status: answer.status, body: said, wait: Number(answer.headers.get('Retry-After') ?? 1) * 1_000 };
  }

  const lang = document.documentElement.lang;
  const words = JSON.parse(document.getElementById('words').textContent);
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // Making one takes longer than using it, and a hall has many prices to tell.
  const formats = {};

  const formatOf = currency => formats[currency] ??= new Intl.NumberFormat(lang, { style: 'currency', currency });

  /** How many digits of an amount are minor units: none of ₩, two of $. */
  const digits = currency => formatOf(currency).resolvedOptions().maximumFractionDigits;

  /** Money is told in minor units: 15000 is ₩15,000 or $150.00. */
  const money = (amount, currency) => formatOf(currency).format(amount / 10 ** digits(currency));

  /** Writes prices and instants, which the server sends as they are, as people here write them. */
  function localise() {
    document.querySelectorAll('[data-price]').forEach(cell => {
      cell.textContent = money(cell.dataset.price, cell.dataset.currency);
    });
    document.querySelectorAll('[data-instant]').forEach(time => {
      const at = new Date(time.dateTime);
      time.textContent = at.toLocaleString(lang, { dateStyle: 'full', timeStyle: 'short' });
    });
  }

  return { cookie, claims, tokenOf, unpack, identity, ask, lang, words, say, digits, money, localise };
})();
