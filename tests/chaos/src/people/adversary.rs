//! People who are up to no good: they present what is over, what is forged, what is not theirs, or is not there. And one
//! who only looks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use super::World;
use super::shop::{Token, Who};
use crate::history::Call;

/// Tokens that are presented at the same time.
const AT_ONCE: usize = 16;
/// No run comes to bookings with such ids.
const MISSING_FROM: i64 = 1_000_000_000_000;

/// One finished token after the other, for ever; often one whose owner has come back since and has a newer one.
pub async fn present_what_is_over(world: Arc<World>) {
    let mut dice = world.dice(1_000_001);
    loop {
        sleep(Duration::from_millis(30)).await;
        let superseded = world.archive.one_superseded(dice.random());
        let superseded = superseded.filter(|_| dice.random_bool(0.3));
        let over = superseded.or_else(|| world.archive.one_over(dice.random()));
        let Some((user, token)) = over else { continue };
        let number = token.number;
        let who = Who::adversary(user, token);
        let call = match dice.random_range(0..10) {
            0 => Call::Leave { number },
            1 | 2 => any_seat(&world, number, &mut dice),
            _ => Call::Poll { number },
        };
        world.shop.ask(&who, call, &mut dice).await;
    }
}

/// Every finished token, each once.
pub async fn present_everything(world: &World) -> usize {
    let over = world.archive.over();
    let presented = over.len();
    let present = |(at, (user, token)): (usize, (i64, Token))| async move {
        let mut dice = world.dice(2_000_000 + at as u64);
        let call = Call::Poll { number: token.number };
        world.shop.ask(&Who::adversary(user, token), call, &mut dice).await;
    };
    iter(over.into_iter().enumerate())
        .map(present)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    presented
}

/// Tokens that nobody signed. A number of 0 says that none of them may be taken.
pub async fn forge(world: Arc<World>) {
    let mut dice = world.dice(1_000_002);
    loop {
        sleep(Duration::from_millis(200)).await;
        let Some((user, token)) = world.archive.one_waiting(dice.random()) else { continue };
        let parts: Vec<&str> = token.text.split('.').collect();
        let [header, payload, signature] = parts[..] else { continue };
        let other = world.archive.one_over(dice.random());
        let others = other.as_ref().and_then(|(_, token)| token.text.split('.').nth(1));
        let text = match dice.random_range(0..4) {
            0 => format!("{header}.{}.{signature}", others.unwrap_or("e30")),
            1 => format!("eyJhbGciOiJub25lIiwidHlwIjoicXVldWUrand0In0.{payload}."),
            2 => format!("{header}.{payload}.{}", signature.chars().rev().collect::<String>()),
            _ => format!("{header}.{payload}"),
        };
        let forged = Token { text, number: 0 };
        let who = Who::adversary(user, forged);
        world.shop.ask(&who, Call::Poll { number: 0 }, &mut dice).await;
    }
}

/// What belongs to others: their bookings, their names, their turns. And bookings that nobody has, which must look the same.
pub async fn meddle(world: Arc<World>) {
    let mut dice = world.dice(1_000_003);
    loop {
        sleep(Duration::from_millis(100)).await;
        let Some((user, token)) = world.archive.one_waiting(dice.random()) else { continue };
        let number = token.number;
        let mut who = Who::adversary(user, token);
        let others = world.archive.one_booking(dice.random()).filter(|(owner, _)| *owner != user);
        let call = match (others, dice.random_range(0..10)) {
            (Some((_, booking)), 0..4) => on_booking(booking, &mut dice),
            (Some((owner, booking)), 4..7) => {
                who.on_behalf_of = Some(owner);
                if dice.random() {
                    Call::Pay { booking, key: None }
                } else {
                    any_seat(&world, number, &mut dice)
                }
            }
            (_, 7) => any_seat(&world, number, &mut dice),
            _ => on_booking(MISSING_FROM + dice.random_range(0..1_000), &mut dice),
        };
        world.shop.ask(&who, call, &mut dice).await;
    }
}

fn on_booking(booking: i64, dice: &mut StdRng) -> Call {
    match dice.random_range(0..3) {
        0 => Call::Pay { booking, key: None },
        1 => Call::Cancel { booking },
        _ => Call::Booking { booking },
    }
}

fn any_seat(world: &World, number: i64, dice: &mut StdRng) -> Call {
    let sale = &world.sales[dice.random_range(0..world.sales.len())];
    let seat = sale.seats[dice.random_range(0..sale.seats.len())].clone();
    Call::Hold { number, concert: sale.concert, seats: vec![seat], key: None }
}

/// Looks at the balances of people who are paying.
pub async fn read(world: Arc<World>) {
    let mut dice = world.dice(1_000_004);
    loop {
        sleep(Duration::from_millis(40)).await;
        let Some(user) = world.archive.one_user(dice.random()) else { continue };
        world.shop.ask(&Who::honest(user), Call::Balance, &mut dice).await;
    }
}
