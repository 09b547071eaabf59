// Chance that is the same in every run: dice by a number, and marks by which things are told apart in a sum.

// A person's own dice: the same number behaves alike in every run.
export function diceOf(number) {
  let state = number >>> 0;
  const dice = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const between = (low, high) => low + dice() * (high - low);
  return { dice, between, chance: (part) => dice() < part };
}

export const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);

// A 32-bit mark of a word (FNV-1a, then mixed). People of a story share no memory: that each thing was met once shows in
// the sum of the marks, where two of one and none of another do not make up for each other.
export function mark(word) {
  let hash = 2166136261;
  for (let i = 0; i < word.length; i += 1) hash = Math.imul(hash ^ word.charCodeAt(i), 16777619);
  hash = Math.imul(hash ^ (hash >>> 16), 2246822507);
  return (hash ^ (hash >>> 13)) >>> 0;
}
