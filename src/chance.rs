//! Chance in one place: ids, keys and jitter. Nothing here decides who gets a seat or a place.

use rand::RngExt;

/// Random bytes from the operating system's generator, for keys and names.
#[expect(clippy::disallowed_methods, reason = "the one place that draws")]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill(&mut bytes);
    bytes
}

/// A random name of 128 bits in hex, for requests and installations.
pub fn name() -> String {
    format!("{:032x}", u128::from_be_bytes(bytes()))
}

/// A name for somebody who has none, as JavaScript would make one: 1 to 2^53 − 1.
#[expect(clippy::disallowed_methods, reason = "the one place that draws")]
pub fn person() -> i64 {
    rand::rng().random_range(1..=9_007_199_254_740_991)
}

/// `value` less up to `share` of itself, so that a crowd told the same does not come at once.
#[expect(clippy::disallowed_methods, reason = "the one place that draws")]
pub fn at_most(value: f64, share: f64) -> f64 {
    value * (1.0 - share * rand::rng().random_range(0.0..=1.0))
}
