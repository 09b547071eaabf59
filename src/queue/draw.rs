//! The draw: a secret seed turns the order of arrival into the order of service. Pure: the permutation, its inverse, and
//! the places that follow from it. Who joins a draw and when it opens stands in `drawing.rs`; how anybody recomputes it,
//! in `docs/DRAW.md`.

use std::fmt;

use aws_lc_rs::{digest, hmac};

use crate::ids::{Epoch, QueueNumber};

/// The 39 bits below the arrivals of an epoch, in a left and a right part.
const LEFT_BITS: u32 = 19;
const RIGHT_BITS: u32 = 20;
/// One HMAC serves this many neighbouring inputs of a round: a word for each.
const WORDS: usize = 8;
/// Below the epochs that were lost since the draw began: who came as the n-th in one of them has n here.
const COMING_BITS: u32 = 32;
/// Even rounds read the right part, odd ones the left.
const ROUND_BITS: [u32; 4] = [RIGHT_BITS, LEFT_BITS, RIGHT_BITS, LEFT_BITS];

/// What makes the order, and nobody may know before the opening.
#[derive(Clone)]
pub struct Seed {
    bytes: [u8; 32],
    key: hmac::Key,
}

/// The draw of a queue: announced, and at some time opened.
#[derive(Clone, Debug)]
pub struct Draw {
    pub seed: Seed,
    pub epoch: Epoch,
    pub announced_at: i64,
    pub opened_at: Option<i64>,
    /// How many were drawn in each epoch that was lost while it was on, as far as anybody knew.
    pub lost: Vec<i64>,
    /// How many were drawn after those, once that is known.
    pub size: Option<i64>,
}

/// Everybody's place in a draw that is open.
#[derive(Debug)]
pub struct Order {
    epoch: Epoch,
    /// The numbers of the drawn, in the order of service.
    numbers: Box<[QueueNumber]>,
    /// As which each of them came.
    came_as: Box<[i64]>,
    /// Where among them each stands, in the order of their coming.
    at: Box<[u32]>,
    /// How many came in each epoch.
    came: Box<[i64]>,
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(***)")
    }
}

impl Seed {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    pub fn read(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        // `from_str_radix` takes a sign, too.
        if hex.len() != 2 * bytes.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self::new(bytes))
    }

    pub fn hex(&self) -> String {
        hex(&self.bytes)
    }

    /// What is published beforehand: no other seed has it.
    pub fn commitment(&self) -> String {
        hex(digest::digest(&digest::SHA256, &self.bytes).as_ref())
    }

    /// Where a draw number goes among all of 39 bits.
    fn shuffle(&self, number: i64) -> i64 {
        shuffled(number, [0, 1, 2, 3], |round, input| self.word(round, input))
    }

    /// Which draw number went there.
    fn restore(&self, place: i64) -> i64 {
        shuffled(place, [3, 2, 1, 0], |round, input| self.word(round, input))
    }

    fn word(&self, round: usize, input: usize) -> u32 {
        self.block(round, input / WORDS)[input % WORDS]
    }

    /// What a round makes of eight neighbouring inputs.
    fn block(&self, round: usize, block: usize) -> [u32; WORDS] {
        let mut message = [round as u8; 5];
        message[1..].copy_from_slice(&(block as u32).to_be_bytes());
        let tag = hmac::sign(&self.key, &message);
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(tag.as_ref().chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        words
    }
}

/// A Feistel network: each round changes one part by what it makes of the other, so undoing the rounds in their reverse
/// order undoes them.
fn shuffled(number: i64, rounds: [usize; 4], mut word: impl FnMut(usize, usize) -> u32) -> i64 {
    let (mut left, mut right) = ((number >> RIGHT_BITS) as u32, number as u32 & mask(RIGHT_BITS));
    for round in rounds {
        if round % 2 == 0 {
            left ^= word(round, right as usize) & mask(LEFT_BITS);
        } else {
            right ^= word(round, left as usize) & mask(RIGHT_BITS);
        }
    }
    i64::from(left) << RIGHT_BITS | i64::from(right)
}

fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Draw {
    /// The draw number of whoever comes as the n-th in an epoch. `None`: more epochs were lost than a number can say.
    pub fn coming(&self, epoch: Epoch, n: i64) -> Option<i64> {
        let lost = epoch.checked_sub(self.epoch)?;
        let fits = (0..1 << (LEFT_BITS + RIGHT_BITS - COMING_BITS)).contains(&lost);
        (fits && n >> COMING_BITS == 0).then_some(lost << COMING_BITS | n)
    }

    /// As the how-manieth of its epoch somebody came.
    pub fn nth(draw_number: i64) -> i64 {
        draw_number & ((1 << COMING_BITS) - 1)
    }

    /// The queue number that a draw number stands for.
    pub fn number(&self, draw_number: i64) -> QueueNumber {
        QueueNumber::of_draw(self.epoch, self.seed.shuffle(draw_number))
    }

    /// As which its owner came to it, if it is a number of this draw.
    pub fn draw_number(&self, number: QueueNumber) -> Option<i64> {
        let place = number.drawn().filter(|_| number.epoch() == self.epoch)?;
        Some(self.seed.restore(place))
    }
}

impl Order {
    /// The order of whoever came in each epoch, so many in each. A million takes a good part of a second: not for a task
    /// that serves.
    pub fn of(seed: &Seed, epoch: Epoch, came: &[i64]) -> Self {
        // Each block is made once; that of all zeros is one that is not made yet.
        let mut blocks = ROUND_BITS.map(|bits| vec![[0; WORDS]; (1 << bits) / WORDS]);
        let mut word = |round: usize, input: usize| {
            let block = &mut blocks[round][input / WORDS];
            if *block == [0; WORDS] {
                *block = seed.block(round, input / WORDS);
            }
            block[input % WORDS]
        };
        let coming = came
            .iter()
            .zip(0_i64..)
            .flat_map(|(count, lost)| (1..=*count).map(move |n| lost << COMING_BITS | n));
        let mut drawn: Vec<(QueueNumber, i64, u32)> = coming
            .zip(0..)
            .map(|(x, nth)| {
                (QueueNumber::of_draw(epoch, shuffled(x, [0, 1, 2, 3], &mut word)), x, nth)
            })
            .collect();
        drawn.sort_unstable();
        let mut at = vec![0; drawn.len()].into_boxed_slice();
        for ((_, _, nth), index) in drawn.iter().zip(0..) {
            at[*nth as usize] = index;
        }
        let (numbers, came_as): (Vec<_>, Vec<_>) =
            drawn.into_iter().map(|(number, x, _)| (number, x)).unzip();
        Self { epoch, numbers: numbers.into(), came_as: came_as.into(), at, came: came.into() }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many were drawn.
    pub fn size(&self) -> i64 {
        self.numbers.len() as i64
    }

    /// The number of a draw number: what [`Draw::number`] computes, looked up.
    pub fn number(&self, draw_number: i64) -> Option<QueueNumber> {
        let (lost, n) = (usize::try_from(draw_number >> COMING_BITS).ok()?, Draw::nth(draw_number));
        if !(1..=*self.came.get(lost)?).contains(&n) {
            return None;
        }
        let before: i64 = self.came.iter().take(lost).sum();
        let index = self.at.get(usize::try_from(before + n - 1).ok()?)?;
        self.numbers.get(*index as usize).copied()
    }

    /// As which somebody came: what [`Draw::draw_number`] computes, looked up.
    pub fn draw_number(&self, number: QueueNumber) -> Option<i64> {
        let index = self.numbers.binary_search(&number).ok()?;
        self.came_as.get(index).copied()
    }

    /// The how-manieth of its epoch a number is to be served, from 1: the drawn in their order, then the others.
    pub fn place(&self, number: QueueNumber) -> i64 {
        let drawn = self.numbers.partition_point(|drawn| *drawn <= number) as i64;
        drawn + (number.0 - QueueNumber::base(self.epoch)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LAST: i64 = (1 << (LEFT_BITS + RIGHT_BITS)) - 1;

    fn seed(byte: u8) -> Seed {
        Seed::new([byte; 32])
    }

    fn draw(byte: u8) -> Draw {
        let (lost, size) = (Vec::new(), None);
        Draw { seed: seed(byte), epoch: 3, announced_at: 0, opened_at: None, lost, size }
    }

    #[test]
    fn a_seed_is_read_as_it_was_written_and_shown_to_nobody() {
        let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
        let seed = Seed::read(hex).unwrap();
        assert_eq!(seed.hex(), hex);
        assert_eq!(
            seed.commitment(),
            "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd"
        );
        assert_eq!(format!("{seed:?}"), "Seed(***)");
        for bad in ["", "00", &hex[1..], &hex.replace("00", "0g")] {
            assert!(Seed::read(bad).is_none(), "{bad}");
        }
    }

    /// What `scripts/verify-draw` must come to as well.
    #[test]
    fn known_numbers_go_where_they_always_went() {
        let seed = Seed::read(&"07".repeat(32)).unwrap();
        let shuffled = [1, 2, 3, 1_000_000, LAST].map(|n| seed.shuffle(n));
        assert_eq!(
            shuffled,
            [313_770_397_952, 102_164_300_960, 165_951_779_522, 544_182_191_004, 78_056_365_804]
        );
        let order = Order::of(&seed, 1, &[10]);
        let places: Vec<i64> =
            (1..=10).map(|n| order.place(QueueNumber::of_draw(1, seed.shuffle(n)))).collect();
        assert_eq!(places, [7, 2, 3, 5, 4, 10, 6, 1, 8, 9]);
    }

    #[test]
    fn an_order_is_everybody_once_and_then_whoever_came_later() {
        let draw = draw(1);
        let order = Order::of(&draw.seed, 3, &[5_000]);
        let places: BTreeSet<i64> = (1..=5_000).map(|n| order.place(draw.number(n))).collect();
        assert_eq!(places, (1..=5_000).collect());
        for n in [1, 2, 4_999, 5_000] {
            assert_eq!(order.number(n), Some(draw.number(n)));
            assert_eq!(order.draw_number(draw.number(n)), Some(n));
        }
        assert_eq!((order.number(0), order.number(5_001)), (None, None));
        assert_eq!(order.draw_number(draw.number(5_001)), None);
        let later = |n| order.place(QueueNumber(QueueNumber::base(3) + n));
        assert_eq!((later(1), later(2)), (5_001, 5_002));
        assert_eq!(order.place(QueueNumber(QueueNumber::base(2) + 9)), 0, "served long ago");
    }

    #[test]
    fn whoever_came_after_a_loss_is_nobody_who_came_before() {
        let draw = draw(4);
        let coming = |epoch, n| draw.coming(epoch, n).unwrap();
        assert_eq!((coming(3, 7), Draw::nth(coming(5, 7))), (7, 7));
        assert_eq!((draw.coming(2, 1), draw.coming(3 + 128, 1)), (None, None));
        let order = Order::of(&draw.seed, 3, &[50, 0, 20]);
        assert_eq!(order.size(), 70);
        for x in [coming(3, 1), coming(3, 50), coming(5, 1), coming(5, 20)] {
            assert_eq!(order.number(x), Some(draw.number(x)));
            assert_eq!(order.draw_number(draw.number(x)), Some(x));
        }
        assert_eq!((order.number(coming(3, 51)), order.number(coming(4, 1))), (None, None));
    }

    /// Of many draws, each of few people comes first about equally often.
    #[test]
    fn nobody_is_preferred() {
        let mut first = [0; 4];
        for byte in 0..=255 {
            let places = [1, 2, 3, 4].map(|n| seed(byte).shuffle(n));
            first[(0..4).min_by_key(|n| places[*n]).unwrap()] += 1;
        }
        assert!(first.iter().all(|times| (40..90).contains(times)), "{first:?}");
    }

    proptest! {
        #[test]
        fn what_is_shuffled_can_be_restored(n in 0..=LAST, byte in 0..=255_u8) {
            let seed = seed(byte);
            let place = seed.shuffle(n);
            prop_assert!((0..=LAST).contains(&place));
            prop_assert_eq!(seed.restore(place), n);
        }

        #[test]
        fn a_number_of_a_draw_tells_its_draw_number_and_no_other_does(n in 1..=LAST, later in 1..=LAST) {
            let draw = draw(2);
            prop_assert_eq!(draw.draw_number(draw.number(n)), Some(n));
            prop_assert_eq!(draw.draw_number(QueueNumber(QueueNumber::base(3) + later)), None);
            let next = Draw { epoch: 4, ..draw.clone() };
            prop_assert_eq!(next.draw_number(draw.number(n)), None);
            prop_assert!(draw.number(n) < QueueNumber(QueueNumber::base(3)));
        }
    }
}
