//! People who come back with their tokens: after a rebuild the line is where they say it is, unless SQL knows better.
//! They share calls, for all of them come at once.

use std::sync::Arc;

use super::redis::rebuild::{Entering, Instead, Standing};
use super::sql::Look;
use super::{Fate, Line, Queues, Turn};
use crate::error::Error;
use crate::ids::QueueNumber;
use crate::together::Together;

/// People in one call.
const ENTER_MAX: usize = 200;

/// The way to the one task that gives a queue's places back.
pub type Returning = Together<Look, Returned>;

/// What became of somebody who came back.
#[derive(Clone, Debug)]
pub enum Returned {
    /// He is in the line, with this number: his own, or an earlier one that is his as well.
    Waiting(QueueNumber),
    /// He has a turn.
    Open(Turn),
    /// He had one, or left.
    Dead,
    /// SQL knows nothing of him, and Redis could not be told.
    Unsure,
}

impl From<Fate> for Returned {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Open(turn) => Self::Open(turn),
            Fate::Dead => Self::Dead,
            Fate::Unknown => Self::Unsure,
        }
    }
}

impl Queues {
    /// Gives a number its place back, together with others.
    pub(super) async fn enter(&self, line: &Arc<Line>, person: Look) -> Result<Returned, Error> {
        let begin = || {
            self.serving(line, |queues, line, people| async move {
                queues.return_places(&line, &people).await
            })
        };
        line.entering.ask(person, (&self.work, ENTER_MAX), begin).await
    }

    /// SQL is asked first: whoever has or had a turn is not put into the line. If it opens one in between, the number in
    /// the line is a ghost, and is dropped when it comes up.
    async fn return_places(&self, line: &Line, people: &[Look]) -> Result<Vec<Returned>, Error> {
        let fates = self.sql.fates(line.queue().id, people).await?;
        let unknown = people.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Unknown));
        let lost: Vec<Look> = unknown.map(|(person, _)| *person).collect();
        let put_back = self.put_back(line, &lost).await.unwrap_or_else(|error| {
            tracing::debug!(queue.name = %line.queue().name, %error, "places were not given back");
            vec![None; lost.len()]
        });
        let mut put_back = put_back.into_iter();
        let returned = |fate| match fate {
            Fate::Unknown => put_back.next().flatten().map_or(Returned::Unsure, Returned::Waiting),
            known => known.into(),
        };
        Ok(fates.into_iter().map(returned).collect())
    }

    /// Puts people into the line; with which number each of them waits there.
    async fn put_back(
        &self,
        line: &Line,
        people: &[Look],
    ) -> Result<Vec<Option<QueueNumber>>, Error> {
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let (redis, now) = (self.redis_line(line).await?, self.clock.now_ms());
        let stale = || self.doubt(line);
        let mut entering: Vec<Entering> = people.iter().map(Entering::from).collect();
        let mut standings = redis.enter(&entering, now).await?.ok_or_else(stale)?;
        // A third time only if somebody's number died in the very moment in which it took the place of another.
        for _ in 0..2 {
            let again = self.who_comes_first(line, &mut entering, &standings).await?;
            if again.is_empty() {
                break;
            }
            let firsts: Vec<Entering> = again.iter().map(|at| entering[*at]).collect();
            let second = redis.enter(&firsts, now).await?.ok_or_else(stale)?;
            for (at, standing) in again.into_iter().zip(second) {
                standings[at] = standing;
            }
        }
        let number = |(entering, standing): (&Entering, Standing)| match standing {
            Standing::Waiting | Standing::Instead(_) => Some(entering.number),
            Standing::Other(number) => Some(number),
            Standing::Active => None,
        };
        Ok(entering.iter().zip(standings).map(number).collect())
    }

    /// Whose number takes the place of the one that he is in line with: that one is dead, a ghost of an old token; or it
    /// was drawn after his own; or his own died on the way, and the one that gave way to it is the living one. Marks
    /// them, and says which they are.
    async fn who_comes_first(
        &self,
        line: &Line,
        entering: &mut [Entering],
        standings: &[Standing],
    ) -> Result<Vec<usize>, Error> {
        let questions: Vec<(usize, Look, Entering)> = standings
            .iter()
            .zip(entering.iter())
            .enumerate()
            .filter_map(|(at, (standing, mine))| match standing {
                Standing::Other(other) => {
                    let first = Entering { instead: Instead::Only(*other), ..*mine };
                    Some((at, (mine.user, *other), first))
                }
                Standing::Instead(other) => {
                    let instead = Instead::Only(mine.number);
                    let back = Entering { number: *other, instead, ..*mine };
                    Some((at, (mine.user, mine.number), back))
                }
                Standing::Waiting | Standing::Active => None,
            })
            .collect();
        let looks: Vec<Look> = questions.iter().map(|(_, look, _)| *look).collect();
        let queue = line.queue();
        let fates = self.sql.fates(queue.id, &looks).await?;
        let mut first = Vec::new();
        for ((at, (_, other), entry), fate) in questions.into_iter().zip(fates) {
            let drawn = (queue.draw_number(entering[at].number), queue.draw_number(other));
            let was_drawn_first = match drawn {
                (Some(mine), Some(his)) => mine < his,
                (mine, _) => mine.is_some(),
            };
            if fate == Fate::Dead || was_drawn_first {
                entering[at] = entry;
                first.push(at);
            }
        }
        Ok(first)
    }
}

impl From<&Look> for Entering {
    fn from(&(user, number): &Look) -> Self {
        // Of a draw the earlier of two numbers may be the higher one.
        let instead = if number.drawn().is_some() { Instead::None } else { Instead::Higher };
        Self { user, number, instead }
    }
}
