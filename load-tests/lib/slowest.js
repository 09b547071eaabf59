// How slow answers are, told so that the end of a story can be held against its beginning on a machine that is shared:
// what a server does to its answers shows in every second, what somebody else's work does in some.

// The slowest answer of each second, in the median; of `{ at, ms }`, both in milliseconds.
export function slowestOfASecond(answers) {
  const seconds = {};
  answers.forEach(({ at, ms }) => {
    const second = Math.floor(at / 1000);
    seconds[second] = Math.max(seconds[second] || 0, ms);
  });
  const slowest = Object.values(seconds).sort((a, b) => a - b);
  return slowest[Math.floor(slowest.length / 2)];
}
