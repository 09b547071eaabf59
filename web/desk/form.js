// What the forms and lists of the desk share: which field the server refused, and instants as they are written here.
'use strict';

const form = (() => {
  const { lang } = usher;

  /** What is wrong with a form, by the JSON pointer of the field. A component takes it in with `...form.faults()`. */
  const faults = () => ({
    faults: {},
    fault(pointer) { return desk.reason(this.faults[pointer] ?? ''); },
    isWrong(pointer) { return pointer in this.faults ? 'true' : null; },
    /** What the server says of each field; `where` may know a better place for a pointer, or a code, than its own. */
    refuse({ body, error }, where = {}) {
      const told = body?.errors ?? [];
      this.faults = Object.fromEntries(told.map(({ pointer, reason }) => [where[pointer] ?? pointer, reason]));
      if (told.length === 0 && where[body?.code]) this.faults = { [where[body.code]]: error };
      return Object.keys(this.faults).length > 0;
    },
  });

  /** Goes to the first field that is wrong, once the page shows it. */
  function showFault(root) {
    requestAnimationFrame(() => root.querySelector('[aria-invalid="true"]')?.focus());
  }

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const instantFormat = new Intl.DateTimeFormat(lang, {
    weekday: 'short', year: 'numeric', month: 'short', day: 'numeric',
    hour: 'numeric', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  });
  const tell = instant => instantFormat.format(new Date(instant));

  /** An instant as the field of a form takes it, in the time of here. */
  function written(instant) {
    const at = new Date(instant);
    return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
  }

  /** A value on one line: a message is quoted, what is not there is a dash. */
  const plain = value => (value === null || value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value));

  return { faults, showFault, zone, tell, written, plain };
})();
