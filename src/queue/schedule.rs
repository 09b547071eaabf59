//! The schedule: changes of a policy that operators planned, and the instant at which they are made. A change that is
//! late is made all the same, in its order and as of its instant: after a stop, and before anything that an operator
//! does by hand. How a ramp is reckoned stands in `ramp.rs`; transactions in `sql/schedule.rs`.

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Queues;
use super::policy::{DAY_SECONDS, Policy, TunePolicy};
use crate::clock::{SKEW_MS_MAX, instant};
use crate::error::{Code, Error, FieldProblem};
use crate::ids::{EntryId, QueueName};
use crate::sql::audit::NewAudit;

/// Entries that a queue may have before it: an evening needs a dozen, and one transaction must be able to catch up.
pub const PENDING_MAX: u64 = 100;
/// Nothing is planned further ahead; an instant in milliseconds that was taken for seconds is.
const AHEAD_DAYS_MAX: i64 = 3_660;

/// A change of the policy at an instant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleTune {
    /// When: in the future, with any offset from UTC.
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at: i64,
    pub policy: TunePolicy,
    /// How long the rate takes to reach the new one, from `at` on.
    #[serde(default, deserialize_with = "crate::http::json::given")]
    #[schema(nullable = false, minimum = 1, maximum = 86_400)]
    pub ramp_seconds: Option<i64>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Applied,
    /// The policy's bounds no longer let it in.
    Skipped,
    Cancelled,
}

impl Outcome {
    pub const ALL: [Self; 3] = [Self::Applied, Self::Skipped, Self::Cancelled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A planned change, pending or done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Entry {
    pub entry_id: EntryId,
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub at: i64,
    /// The fields of the policy that it changes, as they were planned.
    #[schema(value_type = Object)]
    pub policy: Box<RawValue>,
    #[schema(required, minimum = 1, maximum = 86_400)]
    pub ramp_seconds: Option<i64>,
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    pub made_at: i64,
    pub made_by: String,
    /// `null` while it is pending.
    #[serde(serialize_with = "instant::serialize_option")]
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub done_at: Option<i64>,
    #[schema(required)]
    pub outcome: Option<Outcome>,
}

impl ScheduleTune {
    /// Everything that is wrong with a plan that is made now.
    fn check(&self, now: i64) -> Result<(), Error> {
        let mut problems = match Policy::default().tuned(self.policy.clone()) {
            Err(Error::InvalidFields { problems, .. }) => problems,
            _ => Vec::new(),
        };
        for problem in &mut problems {
            problem.pointer.insert_str(0, "/policy");
        }
        let mut check = |holds: bool, pointer: &str, reason: String| {
            if !holds {
                problems.push(FieldProblem { pointer: pointer.to_owned(), reason });
            }
        };
        let ahead_ms = AHEAD_DAYS_MAX * DAY_SECONDS * 1_000;
        let is_ahead = now < self.at && self.at <= now + ahead_ms;
        check(is_ahead, "/at", format!("is in the future, at most {AHEAD_DAYS_MAX} days ahead"));
        let names_something = self.policy != TunePolicy::default();
        check(names_something, "/policy", "names at least one field".to_owned());
        let ramp = self.ramp_seconds.unwrap_or(1);
        let is_within = (1..=DAY_SECONDS).contains(&ramp);
        check(is_within, "/ramp_seconds", format!("is a whole number from 1 to {DAY_SECONDS}"));
        let has_aim = self.ramp_seconds.is_none() || self.policy.rate_per_second.is_some();
        check(has_aim, "/ramp_seconds", "goes with a `rate_per_second`".to_owned());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::InvalidFields { code: Code::InvalidField, problems })
        }
    }
}

impl Entry {
    /// What it changes. What another version wrote and this one cannot read is no change that could be made.
    pub fn change(&self) -> Result<TunePolicy, Error> {
        serde_json::from_str(self.policy.get())
            .map_err(|_| Error::refused(Code::InvalidField, "this version cannot read the entry"))
    }

    /// Whether this is its plan already.
    pub fn is(&self, plan: &ScheduleTune) -> bool {
        (self.at, self.ramp_seconds) == (plan.at, plan.ramp_seconds)
            && self.change().is_ok_and(|change| change == plan.policy)
    }

    /// Whether it can still be changed or cancelled. From its instant on it counts as made: it is, within a second.
    pub fn is_open(&self, now: i64) -> bool {
        self.done_at.is_none() && now < self.at
    }
}

impl Queues {
    /// What a queue has before it, and a page of what it has behind it.
    pub async fn schedule(
        &self,
        name: &QueueName,
        limit: u64,
        before: Option<i64>,
    ) -> Result<(Vec<Entry>, Vec<Entry>), Error> {
        let id = self.line(name).await?.queue().id;
        self.sql.schedule(id, limit, before).await
    }

    pub async fn add_to_schedule(
        &self,
        name: &QueueName,
        plan: ScheduleTune,
        operator: &str,
    ) -> Result<Entry, Error> {
        let now = self.clock.now_ms();
        plan.check(now)?;
        let audit = NewAudit::of_queue(now, operator, "schedule.add", name);
        self.sql.add_to_schedule(name, &plan, audit).await
    }

    /// Puts another plan in the place of a pending one.
    pub async fn change_schedule(
        &self,
        (name, id): (&QueueName, EntryId),
        plan: ScheduleTune,
        operator: &str,
    ) -> Result<Entry, Error> {
        let now = self.clock.now_ms();
        plan.check(now)?;
        let audit = NewAudit::of_queue(now, operator, "schedule.change", name);
        self.sql.change_schedule((name, id), &plan, audit).await
    }

    pub async fn cancel_schedule(
        &self,
        (name, id): (&QueueName, EntryId),
        operator: &str,
    ) -> Result<(), Error> {
        let audit = NewAudit::of_queue(self.clock.now_ms(), operator, "schedule.cancel", name);
        self.sql.cancel_schedule((name, id), audit).await
    }

    /// Makes every change whose instant has come. Every instance asks each second, and once before it serves; the lock
    /// of the queue's row lets one of them do it.
    pub async fn carry_out_due(&self) -> Result<(), Error> {
        let due = self.sql.queues_due(self.clock.now_ms()).await?;
        if due.is_empty() {
            return Ok(());
        }
        let due_by = self.due_by().await?;
        let mut lines = Vec::new();
        for name in due {
            match self.sql.carry_out_due(&name, due_by).await {
                Ok(queue) => {
                    let line = self.learn(queue);
                    let version = line.queue().version;
                    tracing::info!(queue.name = %name, queue.version = version, "carried out what was due");
                    lines.push(line);
                }
                // The others do not wait for it.
                Err(error) => {
                    tracing::warn!(queue.name = %name, %error, "what is due was not carried out; it comes again");
                }
            }
        }
        join_all(lines.iter().map(|line| self.tick_soon(line))).await;
        Ok(())
    }

    /// Up to which instant this instance carries out: by its own clock, unless that is ahead of the database's. One
    /// clock that is off would open a sale for everybody.
    pub(super) async fn due_by(&self) -> Result<i64, Error> {
        let now = self.clock.now_ms();
        if self.clock.is_manual() {
            return Ok(now);
        }
        let skew_ms = self.clock.skew_ms(self.sql.clock_ms()).await?;
        Ok(now + (skew_ms + SKEW_MS_MAX).min(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_900_000_000_000;

    fn pointers(plan: &ScheduleTune) -> Vec<String> {
        match plan.check(NOW) {
            Err(Error::InvalidFields { problems, .. }) => {
                problems.into_iter().map(|problem| problem.pointer).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_plan_is_told_everything_at_once() {
        let policy = TunePolicy { active_max: Some(-1), ..TunePolicy::default() };
        let plan = ScheduleTune { at: NOW, policy, ramp_seconds: Some(0) };
        assert_eq!(
            pointers(&plan),
            ["/policy/active_max", "/at", "/ramp_seconds", "/ramp_seconds"]
        );
    }

    #[test]
    fn a_plan_is_for_the_future_and_not_for_another_age() {
        let policy = TunePolicy { rate_per_second: Some(1.0), ..TunePolicy::default() };
        let plan = |at| ScheduleTune { at, policy: policy.clone(), ramp_seconds: Some(86_400) };
        let ahead_ms = AHEAD_DAYS_MAX * DAY_SECONDS * 1_000;
        let wrong =
            [NOW, NOW + 1, NOW + ahead_ms, NOW + ahead_ms + 1].map(|at| pointers(&plan(at)).len());
        assert_eq!(wrong, [1, 0, 0, 1]);
    }

    #[test]
    fn an_entry_keeps_what_its_plan_names_and_no_more() {
        let sent = r#"{"burst":null,"mode":"open"}"#;
        let patch: TunePolicy = serde_json::from_str(sent).unwrap();
        assert_eq!(serde_json::to_string(&patch).unwrap(), sent);
    }
}
