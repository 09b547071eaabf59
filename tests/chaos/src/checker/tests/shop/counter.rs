//! The shop's counter: seats are held, paid for, given back; money moves along each person's chain.

use super::{CONCERT, PRICE, QUEUE, Shop, ok, refused};
use crate::history::{Answer, Outcome};
use crate::rows::{Booking, Claim, Transfer};

impl Shop {
    pub fn hold(&mut self, user: i64, number: i64, seats: &[String], key: Option<&str>) -> Outcome {
        let now = self.now_ms();
        let (session, hold) = (self.run.session_ms, self.run.hold_ms);
        let taken = self.rows.claims.iter().any(|claim| seats.contains(&claim.seat_id));
        let Some(turn) = self.rows.turns.iter_mut().find(|turn| turn.seq == number) else {
            return refused(403, "not_admitted");
        };
        if !turn.is_open_at(now) || turn.claimed_at.is_some() && now >= turn.ends_at {
            return refused(410, "turn_ended");
        }
        if taken {
            return refused(409, "seat_taken");
        }
        let his = self.rows.bookings.iter().filter(|row| row.user_id == user);
        let had: i64 =
            his.filter(|row| row.is("paid") || row.is("held")).map(|row| row.seat_count).sum();
        if self.run.seats_per_user_max.is_some_and(|max| had + seats.len() as i64 > max) {
            return refused(403, "purchase_limit");
        }
        if turn.claimed_at.is_none() {
            (turn.claimed_at, turn.ends_at) = (Some(now), now + session);
        }
        let expires_at = now + hold;
        turn.closes_at = turn.closes_at.max(turn.ends_at).max(expires_at);
        let id = self.rows.bookings.len() as i64 + 1;
        let amount = PRICE * seats.len() as i64;
        self.rows.bookings.push(Booking {
            id,
            queue_id: QUEUE,
            turn_seq: number,
            user_id: user,
            concert_id: CONCERT,
            seats: seats.join(","),
            seat_count: seats.len() as i64,
            amount,
            status: "held".to_owned(),
            made_at: now,
            expires_at,
            paid_at: None,
            idem_key: key.map(str::to_owned),
        });
        self.rows.claims.extend(seats.iter().map(|seat| Claim {
            concert_id: CONCERT,
            seat_id: seat.clone(),
            booking_id: id,
            until: Some(expires_at),
        }));
        ok(Answer::Held { booking: id, seats: seats.to_vec(), amount, expires_at_ms: expires_at })
    }

    pub fn pay(&mut self, user: i64, id: i64, key: Option<&str>) -> Outcome {
        let now = self.now_ms();
        let Some(index) = self.booking(user, id) else {
            return refused(404, "booking_not_found");
        };
        let booking = &self.rows.bookings[index];
        match booking.status.as_str() {
            "paid" => return ok(Answer::Paid { booking: id }),
            "held" if now < booking.expires_at => {}
            "cancelled" => return refused(409, "booking_not_held"),
            _ => return refused(410, "hold_expired"),
        }
        let (amount, number) = (booking.amount, booking.turn_seq);
        if self.account(user).balance < amount {
            return refused(402, "insufficient_balance");
        }
        self.transfer(user, ("purchase", amount), (id.to_string(), key));
        let booking = &mut self.rows.bookings[index];
        (booking.status, booking.paid_at) = ("paid".to_owned(), Some(now));
        for claim in self.rows.claims.iter_mut().filter(|claim| claim.booking_id == id) {
            claim.until = None;
        }
        let others = self
            .rows
            .bookings
            .iter()
            .any(|booking| booking.turn_seq == number && booking.is("held"));
        let turn = self.rows.turns.iter_mut().find(|turn| turn.seq == number);
        if let Some(turn) = turn.filter(|turn| !others && turn.ended_at.is_none()) {
            (turn.ended_at, turn.end_reason) = (Some(now), Some("paid".to_owned()));
        }
        ok(Answer::Paid { booking: id })
    }

    pub fn top_up(&mut self, user: i64, amount: i64, key: Option<&str>) -> Outcome {
        let reference = format!("top-up-{}", self.rows.transfers.len());
        self.transfer(user, ("topup", amount), (reference, key));
        ok(Answer::Balance { balance: self.account(user).balance })
    }

    pub fn cancel(&mut self, user: i64, id: i64) -> Outcome {
        let Some(index) = self.booking(user, id) else {
            return refused(404, "booking_not_found");
        };
        match self.rows.bookings[index].status.as_str() {
            "paid" => refused(409, "booking_not_held"),
            "held" => {
                self.rows.bookings[index].status = "cancelled".to_owned();
                self.rows.claims.retain(|claim| claim.booking_id != id);
                ok(Answer::Gone)
            }
            _ => ok(Answer::Gone),
        }
    }

    pub fn show(&mut self, user: i64, id: i64) -> Outcome {
        let Some(index) = self.booking(user, id) else {
            return refused(404, "booking_not_found");
        };
        let booking = &self.rows.bookings[index];
        ok(Answer::Booking {
            booking: id,
            status: booking.status.clone(),
            seats: booking.seat_names().map(str::to_owned).collect(),
        })
    }

    /// Frees the seats of holds that ran out.
    pub fn let_go(&mut self, now: i64) {
        let over = |booking: &&mut Booking| booking.is("held") && booking.expires_at <= now;
        for booking in self.rows.bookings.iter_mut().filter(over) {
            booking.status = "expired".to_owned();
            self.rows.claims.retain(|claim| claim.booking_id != booking.id);
        }
    }

    fn booking(&self, user: i64, id: i64) -> Option<usize> {
        self.rows.bookings.iter().position(|booking| booking.id == id && booking.user_id == user)
    }

    fn transfer(
        &mut self,
        user: i64,
        (kind, amount): (&str, i64),
        (reference, key): (String, Option<&str>),
    ) {
        let account = self.account(user);
        account.version += 1;
        account.balance += if kind == "topup" { amount } else { -amount };
        let (version, balance_after) = (account.version, account.balance);
        self.rows.transfers.push(Transfer {
            user_id: user,
            version,
            kind: kind.to_owned(),
            amount,
            balance_after,
            reference,
            idem_key: key.map(str::to_owned),
        });
    }
}
