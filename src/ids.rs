//! Names and numbers of the domain, each with its grammar. Text becomes one of these at the edge and stays one;
//! nothing here reads a clock or talks to a machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// The largest id that every JSON reader can hold exactly.
pub const ID_MAX: i64 = (1 << 53) - 1;
const SEAT_ID_CHARS_MAX: usize = 16;
const QUEUE_NAME_CHARS_MAX: usize = 32;
const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// Reads a whole number as paths and queries have it: decimal digits, no sign, no leading zero, 1 … 2^53−1.
pub fn whole_number(text: &str) -> Option<i64> {
    let plain = !text.is_empty()
        && text.len() <= 16
        && text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0');
    let number = plain.then(|| text.parse::<i64>().ok()).flatten()?;
    (number <= ID_MAX).then_some(number)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $code:expr, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
        #[schema(value_type = i64, minimum = 1, maximum = 9007199254740991_i64)]
        pub struct $name(pub i64);

        impl $name {
            /// Reads it from a path or a query; refuses anything but plain digits in range.
            pub fn parse(text: &str) -> Result<Self, Error> {
                whole_number(text).map(Self).ok_or_else(|| {
                    Error::refused($code, concat!($what, " is a whole number from 1 to 9007199254740991"))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let id = i64::deserialize(from)?;
                if (1..=ID_MAX).contains(&id) {
                    Ok(Self(id))
                } else {
                    Err(serde::de::Error::custom(concat!($what, " is a whole number from 1 to 9007199254740991")))
                }
            }
        }
    };
}

id!(
    /// A buyer, as the shop numbers them.
    UserId, Code::InvalidUserId, "a user id"
);
id!(
    /// One performance: one date, one place, its seats.
    ConcertId, Code::InvalidId, "a concert id"
);
id!(
    /// A booking, from hold to payment.
    BookingId, Code::InvalidId, "a booking id"
);

id!(
    /// One planned change in the schedule of a queue.
    EntryId, Code::InvalidId, "an entry's id"
);

/// The name of a queue: `[a-z0-9-]{1,32}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[a-z0-9-]{1,32}$")]
pub struct QueueName(String);

impl QueueName {
    /// The queue that always exists.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// Reads it; anything outside the grammar is refused, so a name is safe inside a Redis key.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=QUEUE_NAME_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::refused(Code::InvalidQueue, "a queue name is 1 to 32 of a-z, 0-9 and `-`"))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A seat of a concert: `[A-Za-z0-9-]{1,16}`, compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9-]{1,16}$")]
pub struct SeatId(String);

impl SeatId {
    /// Reads one seat id, or says that it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let fits = (1..=SEAT_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.to_owned()))
    }

    /// Reads `"10,11"` (one space after a comma allowed), at most `seats_max` of them, none twice.
    pub fn parse_list(text: &str, seats_max: usize) -> Result<Vec<Self>, Error> {
        const POINTER: &str = "/seat_no";
        let mut seats = Vec::new();
        for (index, item) in text.split(',').enumerate() {
            let item = if index == 0 { item } else { item.strip_prefix(' ').unwrap_or(item) };
            let seat = Self::parse(item).ok_or_else(|| {
                Error::field(
                    Code::InvalidSeatList,
                    POINTER,
                    "seat ids are 1 to 16 of A-Z, a-z, 0-9 and `-`, separated by commas",
                )
            })?;
            if seats.contains(&seat) {
                return Err(Error::field(
                    Code::DuplicateSeat,
                    POINTER,
                    format!("seat `{seat}` is named twice"),
                ));
            }
            if seats.len() == seats_max {
                return Err(Error::field(
                    Code::TooManySeats,
                    POINTER,
                    format!("at most {seats_max} seats a booking"),
                ));
            }
            seats.push(seat);
        }
        Ok(seats)
    }

    /// One text for a set of seats, the same whatever order they were asked in.
    pub fn join(seats: &[Self]) -> String {
        let mut sorted: Vec<&str> = seats.iter().map(Self::as_str).collect();
        sorted.sort_unstable();
        sorted.join(",")
    }

    /// The inverse of [`SeatId::join`], for text that we wrote ourselves.
    pub fn split(joined: &str) -> Vec<Self> {
        joined.split(',').map(|seat| Self(seat.to_owned())).collect()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SeatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The generation of a queue's state in Redis; part of every queue number.
pub type Epoch = i64;

/// The order of arrival: `epoch << 40 | 2^39 + n` for the n-th arrival of an epoch, never reused, never a time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct QueueNumber(pub i64);

impl QueueNumber {
    const EPOCH_SHIFT: u32 = 40;
    /// Below it lie the numbers of a draw, which come before every later arrival of their epoch.
    const ARRIVAL_BASE: i64 = 1 << 39;

    /// The number just before an epoch's first arrival: `n` is added to it.
    pub fn base(epoch: Epoch) -> i64 {
        (epoch << Self::EPOCH_SHIFT) | Self::ARRIVAL_BASE
    }

    /// A number of an epoch's draw; `place` has 39 bits.
    pub fn of_draw(epoch: Epoch, place: i64) -> Self {
        Self((epoch << Self::EPOCH_SHIFT) | place)
    }

    /// What a draw made of it, if it is a number of one.
    pub fn drawn(self) -> Option<i64> {
        let place = self.0 & ((1 << Self::EPOCH_SHIFT) - 1);
        (place < Self::ARRIVAL_BASE).then_some(place)
    }

    /// The epoch in which the number was issued.
    pub fn epoch(self) -> Epoch {
        self.0 >> Self::EPOCH_SHIFT
    }

    /// How many arrivals of its epoch came up to and with this one.
    pub fn arrival(self) -> i64 {
        self.0 - Self::base(self.epoch())
    }
}

/// The client's name for one intention: 1 to 255 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn parse(text: &str) -> Result<Self, Error> {
        if (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::refused(
                Code::InvalidIdempotencyKey,
                "an Idempotency-Key is 1 to 255 printable ASCII characters",
            ))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_of(list: &str) -> Code {
        SeatId::parse_list(list, 8).unwrap_err().code()
    }

    #[test]
    fn a_seat_list_is_read_as_it_stands_or_refused() {
        let seats = SeatId::parse_list("10, A-12,11", 8).unwrap();
        assert_eq!(SeatId::join(&seats), "10,11,A-12");
        for bad in [
            "", ",", "10,", ",10", "10,,11", "10;DROP", "1.5", "+10", "10,  11", " 10", "١٠",
            "10\0",
        ] {
            assert_eq!(code_of(bad), Code::InvalidSeatList, "{bad:?}");
        }
        assert_eq!(code_of("10, 10"), Code::DuplicateSeat);
        assert_eq!(code_of("1,2,3,4,5,6,7,8,9"), Code::TooManySeats);
    }

    #[test]
    fn a_user_id_is_plain_digits_in_range() {
        assert_eq!(UserId::parse("9007199254740991").unwrap().0, ID_MAX);
        for bad in [
            "",
            "0",
            "01",
            "-1",
            "+1",
            "1e3",
            " 1",
            "９",
            "9007199254740992",
            "18446744073709551616",
        ] {
            assert!(UserId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_later_epoch_is_behind_every_number_of_an_earlier_one() {
        let last_of_one = QueueNumber(QueueNumber::base(1) + 1_000_000);
        let first_of_two = QueueNumber(QueueNumber::base(2) + 1);
        assert!(last_of_one < first_of_two);
        assert_eq!((first_of_two.epoch(), first_of_two.arrival()), (2, 1));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_parses_or_is_refused(text in "\\PC{0,80}") {
            if let Ok(seats) = SeatId::parse_list(&text, 8) {
                prop_assert!(!seats.is_empty() && seats.len() <= 8);
            }
            if let Ok(user) = UserId::parse(&text) {
                prop_assert_eq!(user.to_string(), text);
            }
        }
    }
}
