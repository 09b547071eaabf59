// A seat plan as an operator writes it, row by row from the stage, and what is sent of it. It draws nothing.
'use strict';

/** Seat numbers as people write them: `20` is 1 to 20, `1-8, 11-20` leaves an aisle. `null`: they cannot be read. */
function seatRanges(text) {
  const parts = text.split(',').map(part => part.trim().match(/^(\d{1,6})(?:\s*[-–]\s*(\d{1,6}))?$/));
  if (parts.includes(null)) return null;
  const isCount = parts.length === 1 && parts[0][2] === undefined;
  const ranges = parts.map(([, first, last]) => (isCount ? [1, Number(first)] : [Number(first), Number(last ?? first)]));
  return ranges.some(([first, last]) => first > last) ? null : ranges;
}

/** The name of the row behind: `B` behind `A`, `AA` behind `Z`, `12` behind `11`, `K8` behind `K7`. */
function rowBehind(name) {
  const number = name.match(/\d+$/)?.[0];
  if (number) return name.slice(0, -number.length) + String(Number(number) + 1).padStart(number.length, '0');
  const letter = name.at(-1) ?? '';
  if (!/[a-z]/i.test(letter)) return `${name}1`;
  if (letter !== 'z' && letter !== 'Z') return name.slice(0, -1) + String.fromCharCode(letter.charCodeAt() + 1);
  const first = letter === 'z' ? 'a' : 'A';
  const before = name.slice(0, -1);
  return (/[a-z]$/i.test(before) ? rowBehind(before) : before + first) + first;
}

const plan = {
  // What the server takes.
  seatsMax: 100_000,

  /** `count` rows, the first of which has this name. */
  rows(first, count, seats, tier) {
    const rows = [];
    for (let name = first; rows.length < count; name = rowBehind(name)) rows.push({ name, seats, tier });
    return rows;
  },

  /** Without naming them: a slip of the finger can ask for more than fit into memory. */
  count(row) { return (seatRanges(row.seats) ?? []).reduce((sum, [first, last]) => sum + last - first + 1, 0); },

  seatsOf(row) {
    const from = ([first, last]) => Array.from({ length: last - first + 1 }, (_, at) => `${row.name}-${first + at}`);
    return (seatRanges(row.seats) ?? []).flatMap(from);
  },

  isReadable(row) { return plan.count(row) > 0; },

  /**
   * What is sent: rows of one tier that follow each other together, so that the hall keeps its order from the stage. And of
   * which rows each part consists, for what the server says of it.
   */
  parts(rows) {
    const parts = [];
    rows.forEach((row, index) => {
      if (parts.at(-1)?.tier !== row.tier) parts.push({ tier: row.tier, indices: [] });
      parts.at(-1).indices.push(index);
    });
    return parts;
  },

  seats(rows) {
    const counts = new Set(rows.map(({ seats }) => (/^\s*\d+\s*$/.test(seats) ? Number(seats) : -1)));
    const [perRow] = counts;
    if (counts.size === 1 && perRow >= 0) return { rows: rows.map(({ name }) => name), per_row: perRow };
    return rows.flatMap(plan.seatsOf);
  },

  /** The hall as `GET /concerts/{id}` would tell it: what two rows both name stands there once. */
  hall(rows, tiers) {
    const seats = new Map(rows.flatMap(row => plan.seatsOf(row).map(seat => [seat, row.tier])));
    const told = new Map(tiers.map(tier => [tier.id, { ...tier, seats: [] }]));
    seats.forEach((tier, seat) => told.get(tier).seats.push(seat));
    return { seats: [...seats.keys()], tiers: [...told.values()].filter(tier => tier.seats.length > 0) };
  },
};
