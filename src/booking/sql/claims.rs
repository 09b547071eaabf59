//! Every claim on the seats of a queue's concerts, for whoever writes the copy in Redis anew. Nothing is changed here.

use sea_orm::ConnectionTrait;

use super::Owner;
use crate::error::Error;
use crate::ids::{ConcertId, SeatId, UserId};
use crate::sql::{Sql, from_db, get};

/// A seat that somebody has.
pub type Claim = (ConcertId, SeatId, Owner);

impl Sql {
    /// Claims that hold at `now`, behind `after` in the order of concerts and seats.
    pub async fn claims(
        &self,
        queue_id: i64,
        after: Option<&Claim>,
        now: i64,
        limit: u64,
    ) -> Result<Vec<Claim>, Error> {
        let (concert, seat) =
            after.map_or((0, ""), |(concert, seat, _)| (concert.0, seat.as_str()));
        let sql = "SELECT c.concert_id, c.seat_id, c.until, b.user_id
                   FROM seat_claim c JOIN booking b ON b.id = c.booking_id
                   WHERE b.queue_id = $1 AND (c.until IS NULL OR c.until > $2) AND (c.concert_id, c.seat_id) > ($3, $4)
                   ORDER BY c.concert_id, c.seat_id LIMIT $5";
        let values = [queue_id.into(), now.into(), concert.into(), seat.into(), limit.into()];
        let rows = self.reader().query_all_raw(self.statement(sql, values)).await;
        let mut claims = Vec::new();
        for row in rows.map_err(from_db)? {
            let (seat, user, until): (String, i64, Option<i64>) =
                (get(&row, "seat_id")?, get(&row, "user_id")?, get(&row, "until")?);
            let owner =
                until.map_or(Owner::Sold, |until| Owner::Held { user: UserId(user), until });
            let concert = ConcertId(get(&row, "concert_id")?);
            claims.extend(SeatId::parse(&seat).map(|seat| (concert, seat, owner)));
        }
        Ok(claims)
    }
}
