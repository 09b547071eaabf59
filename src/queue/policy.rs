//! The policy of a queue: what an operator tunes while people wait. Bounds stand here; storage does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Code, Error, FieldProblem};
use crate::http::json::given;

const RATE_MAX: f64 = 20_000.0;
const ACTIVE_MAX: i64 = 1_000_000;
pub const DAY_SECONDS: i64 = 86_400;
const SEATS_MAX: i64 = 100;
const MESSAGE_CHARS_MAX: usize = 500;

/// Whether people may join and whether they are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Join: yes. Admission: by rate, cap and stock.
    Open,
    /// Join: yes. Admission: none.
    Paused,
    /// Join: no. Admission: by rate, cap and stock.
    Draining,
    /// Join: no. Admission: none; places are kept.
    Closed,
    /// Join: yes. Admission: at once; rate, cap and stock are not applied.
    Passthrough,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Closed => "closed",
            Self::Passthrough => "passthrough",
        }
    }

    /// Reads what the database holds; the constraint `mode_is_known` lets nothing else in.
    pub fn stored(text: &str) -> Result<Self, Error> {
        [Self::Open, Self::Paused, Self::Draining, Self::Closed, Self::Passthrough]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| Error::bug("the database holds an unknown mode"))
    }

    /// Whether people are admitted, as fast as the policy lets them.
    pub fn admits(self) -> bool {
        matches!(self, Self::Open | Self::Draining | Self::Passthrough)
    }

    pub fn lets_people_join(self) -> bool {
        !matches!(self, Self::Draining | Self::Closed)
    }
}

/// Rates, caps and times of one queue.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Policy {
    /// Admissions a second, fractions allowed; counts claimed turns.
    #[schema(minimum = 0, maximum = 20_000)]
    pub rate_per_second: f64,
    /// The bucket's size when an operator set it; `PolicyView` shows the one that is in force.
    #[serde(skip)]
    pub burst: Option<f64>,
    /// Turns at once, strict.
    #[schema(minimum = 0, maximum = 1_000_000)]
    pub active_max: i64,
    /// How long a claimed turn lasts.
    #[schema(minimum = 1, maximum = 86_400)]
    pub session_seconds: i64,
    /// How long an admitted person has to come for the turn.
    #[schema(minimum = 1, maximum = 86_400)]
    pub claim_seconds: i64,
    /// How long seats are held before they must be paid.
    #[schema(minimum = 1, maximum = 86_400)]
    pub hold_seconds: i64,
    /// Seats in one booking.
    #[schema(minimum = 1, maximum = 100)]
    pub seats_per_booking_max: i64,
    /// Seats one person may hold or own of a concert; `null`: no limit.
    #[schema(minimum = 1, maximum = 1_000_000, required)]
    pub seats_per_user_max: Option<i64>,
    pub mode: Mode,
    /// Shown to everybody who waits.
    #[schema(max_length = 500)]
    pub message: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rate_per_second: 50.0,
            burst: None,
            active_max: 500,
            session_seconds: 600,
            claim_seconds: 60,
            hold_seconds: 300,
            seats_per_booking_max: 8,
            seats_per_user_max: None,
            mode: Mode::Open,
            message: String::new(),
        }
    }
}

/// The policy as operators see it: the burst that is in force stands beside the rest.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PolicyView {
    #[serde(flatten)]
    #[schema(inline)]
    pub policy: Policy,
    /// Admissions that may come at once after a lull.
    #[schema(minimum = 1, maximum = 20_000)]
    pub burst: f64,
}

impl From<&Policy> for PolicyView {
    fn from(policy: &Policy) -> Self {
        Self { policy: policy.clone(), burst: policy.burst() }
    }
}

/// Any subset of the policy's fields. `null` puts `burst` and `seats_per_user_max` back to their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TunePolicy {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 20_000)]
    pub rate_per_second: Option<f64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 1, maximum = 20_000)]
    pub burst: Option<Option<f64>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 1_000_000)]
    pub active_max: Option<i64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 86_400)]
    pub session_seconds: Option<i64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 86_400)]
    pub claim_seconds: Option<i64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 86_400)]
    pub hold_seconds: Option<i64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1, maximum = 100)]
    pub seats_per_booking_max: Option<i64>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 1_000_000)]
    pub seats_per_user_max: Option<Option<i64>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub mode: Option<Mode>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 500)]
    pub message: Option<String>,
}

impl Policy {
    /// The bucket's size that is in force.
    pub fn burst(&self) -> f64 {
        self.burst.unwrap_or_else(|| self.rate_per_second.max(1.0))
    }

    /// The most people that the rate lets in at once and within `span`; everybody in `passthrough`.
    pub fn admits_within(&self, span: Duration) -> i64 {
        match self.mode {
            Mode::Passthrough => i64::MAX,
            _ => (self.burst() + self.rate_per_second * span.as_secs_f64()).ceil() as i64,
        }
    }

    /// This policy with an operator's change applied, or everything that is wrong with it.
    pub fn tuned(&self, change: TunePolicy) -> Result<Self, Error> {
        let new = Self {
            rate_per_second: change.rate_per_second.unwrap_or(self.rate_per_second),
            burst: change.burst.unwrap_or(self.burst),
            active_max: change.active_max.unwrap_or(self.active_max),
            session_seconds: change.session_seconds.unwrap_or(self.session_seconds),
            claim_seconds: change.claim_seconds.unwrap_or(self.claim_seconds),
            hold_seconds: change.hold_seconds.unwrap_or(self.hold_seconds),
            seats_per_booking_max: change
                .seats_per_booking_max
                .unwrap_or(self.seats_per_booking_max),
            seats_per_user_max: change.seats_per_user_max.unwrap_or(self.seats_per_user_max),
            mode: change.mode.unwrap_or(self.mode),
            message: change.message.unwrap_or_else(|| self.message.clone()),
        };
        let problems = new.problems();
        if problems.is_empty() {
            Ok(new)
        } else {
            Err(Error::InvalidFields { code: Code::InvalidField, problems })
        }
    }

    fn problems(&self) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, field: &str, reason: String| {
            if !holds {
                problems.push(FieldProblem { pointer: format!("/{field}"), reason });
            }
        };
        let rate_holds = (0.0..=RATE_MAX).contains(&self.rate_per_second);
        check(rate_holds, "rate_per_second", format!("is from 0 to {RATE_MAX}"));
        let burst_holds = self.burst.is_none_or(|burst| (1.0..=RATE_MAX).contains(&burst));
        check(burst_holds, "burst", format!("is from 1 to {RATE_MAX}"));
        let mut within = |value: i64, min: i64, max: i64, field: &str| {
            check(
                (min..=max).contains(&value),
                field,
                format!("is a whole number from {min} to {max}"),
            );
        };
        within(self.active_max, 0, ACTIVE_MAX, "active_max");
        within(self.session_seconds, 1, DAY_SECONDS, "session_seconds");
        within(self.claim_seconds, 1, DAY_SECONDS, "claim_seconds");
        within(self.hold_seconds, 1, DAY_SECONDS, "hold_seconds");
        within(self.seats_per_booking_max, 1, SEATS_MAX, "seats_per_booking_max");
        within(self.seats_per_user_max.unwrap_or(1), 1, ACTIVE_MAX, "seats_per_user_max");
        let plain =
            self.message.chars().count() <= MESSAGE_CHARS_MAX && !self.message.contains('\0');
        check(
            plain,
            "message",
            format!("is at most {MESSAGE_CHARS_MAX} characters, none of them NUL"),
        );
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_touches_only_what_it_names() {
        let tuned = Policy::default()
            .tuned(TunePolicy { rate_per_second: Some(0.5), ..Default::default() })
            .unwrap();
        assert_eq!(tuned, Policy { rate_per_second: 0.5, ..Policy::default() });
        assert!(
            (tuned.burst() - 1.0).abs() < f64::EPSILON,
            "a slow queue still lets one person in at once"
        );
    }

    #[test]
    fn every_bound_is_told_at_once() {
        let change =
            TunePolicy { rate_per_second: Some(-1.0), active_max: Some(-1), ..Default::default() };
        let Error::InvalidFields { problems, .. } = Policy::default().tuned(change).unwrap_err()
        else {
            panic!()
        };
        let pointers: Vec<_> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(pointers, ["/rate_per_second", "/active_max"]);
    }
}
