//! Time as an argument. Nothing else in the house reads the system's clock for a decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::error::Error;

/// RFC 3339 in UTC, always with milliseconds: texts of equal length sort like their instants.
const RFC3339_MS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Servers whose clocks differ by more than this are not ready, and admit nobody.
pub const SKEW_MS_MAX: i64 = 1_000;

/// The beginning of 2026. A clock that says less was never set: turns and holds would end decades ago.
const EARLIEST_MS: i64 = 1_767_225_600_000;

/// Where instants come from: the machine, or a hand that turns it (tests).
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    /// The machine's clock and so much more: one that is off.
    Shifted(Arc<AtomicI64>),
    Manual {
        now: Arc<AtomicI64>,
        /// Every instance goes by this one, so none is late by another's.
        shared: bool,
    },
}

impl Clock {
    /// The machine's clock; servers run NTP.
    pub fn system() -> Self {
        Self::System
    }

    /// A clock that goes with the machine's, ahead of it by what it is advanced.
    pub fn shifted() -> Self {
        Self::Shifted(Arc::default())
    }

    /// A clock that stands at `start_ms` until it is advanced.
    pub fn manual(start_ms: i64) -> Self {
        Self::Manual { now: Arc::new(AtomicI64::new(start_ms)), shared: true }
    }

    /// A manual clock of one instance among several, whose clocks may differ from it.
    pub fn manual_of_one(start_ms: i64) -> Self {
        Self::Manual { now: Arc::new(AtomicI64::new(start_ms)), shared: false }
    }

    /// Milliseconds since 1970.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now_ms(&self) -> i64 {
        match self {
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Self::Shifted(by) => Self::System.now_ms() + by.load(Ordering::SeqCst),
            Self::Manual { now, .. } => now.load(Ordering::SeqCst),
        }
    }

    /// Refuses a clock that was never set.
    pub fn check(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        if now_ms >= EARLIEST_MS {
            return Ok(());
        }
        Err(Error::Internal {
            context: "the clock of this machine is not set",
            source: format!("it says {}", rfc3339(now_ms)).into(),
        })
    }

    /// How far another machine's clock is ahead of this one. It told its time at some moment while it was asked, and
    /// is believed to be right when it was so at any such moment.
    pub async fn skew_ms<E>(&self, theirs: impl Future<Output = Result<i64, E>>) -> Result<i64, E> {
        let asked_at = self.now_ms();
        let theirs = theirs.await?;
        Ok(theirs - theirs.max(asked_at).min(self.now_ms()))
    }

    /// Moves a test's clock forward. The system's clock is not ours to move, so there it does nothing.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual { now, .. } | Self::Shifted(now) = self {
            now.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Whether a test holds the clock: the time of machines says nothing about it, and it does not move by itself.
    pub fn is_manual(&self) -> bool {
        matches!(self, Self::Manual { .. })
    }

    /// Whether every instance goes by this very clock, so that there is no skew to allow for.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Manual { shared: true, .. })
    }
}

/// An instant as the contract shows it: RFC 3339 in UTC, with milliseconds.
pub fn rfc3339(at_ms: i64) -> String {
    let nanos = i128::from(at_ms).saturating_mul(1_000_000);
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(RFC3339_MS).ok())
        .unwrap_or_default()
}

/// Instants in bodies, as milliseconds on our side: `#[serde(with = "instant")]`.
pub mod instant {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub fn serialize<S: Serializer>(at_ms: &i64, to: S) -> Result<S::Ok, S::Error> {
        super::rfc3339(*at_ms).serialize(to)
    }

    /// Takes any offset from UTC.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        let text = String::deserialize(from)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(|_| {
            serde::de::Error::custom("is an instant such as 2031-05-01T20:00:00+09:00 (RFC 3339)")
        })?;
        let nanos = at.unix_timestamp_nanos();
        i64::try_from(nanos.div_euclid(1_000_000)).map_err(serde::de::Error::custom)
    }

    /// For what has not happened yet.
    pub fn serialize_option<S: Serializer>(at_ms: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        at_ms.map(super::rfc3339).serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_in_utc_with_their_milliseconds() {
        assert_eq!(rfc3339(1_800_000_000_123), "2027-01-15T08:00:00.123Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn instants_are_read_with_any_offset() {
        let read = |text: &str| instant::deserialize(serde_json::Value::from(text)).ok();
        assert_eq!(read("2027-01-15T17:00:00.1239+09:00"), Some(1_800_000_000_123));
        assert_eq!(read("1969-12-31T23:59:59.9999Z"), Some(-1));
        for text in ["", "tomorrow", "2027-01-15", "2027-01-15T08:00:00", "2027-02-30T08:00:00Z"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_refused() {
        let said = Clock::manual(7_000).check().unwrap_err();
        assert_eq!(said.to_string(), "the clock of this machine is not set");
        Clock::system().check().unwrap();
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(5);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now_ms(), 1_005);
    }
}
