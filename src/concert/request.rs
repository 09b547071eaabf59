//! What operators ask of the catalogue, and whether it makes sense. Nothing is stored here.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Seat;
use crate::error::{Code, Error, FieldProblem};
use crate::http::json::given;
use crate::ids::SeatId;

/// A hall has room for this many, and a request for no more.
const SEATS_MAX: usize = 100_000;
const PRICE_MAX: i64 = 1_000_000_000;
const TEXT_CHARS_MAX: usize = 200;
/// Until the year 9999, the last that RFC 3339 can write.
const STARTS_AT_MAX: i64 = 253_402_300_799;

/// A request to sell a new concert.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConcert {
    #[schema(min_length = 1, max_length = 200)]
    pub title: String,
    #[schema(min_length = 1, max_length = 200)]
    pub place: String,
    /// Unix seconds, in the future.
    #[schema(minimum = 1, maximum = 253_402_300_799_i64)]
    pub starts_at: i64,
    /// Through which queue; `main` when absent.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, pattern = "^[a-z0-9-]{1,32}$")]
    pub queue: Option<String>,
    #[schema(min_items = 1)]
    pub tiers: Vec<CreateTier>,
}

/// Seats of one price.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTier {
    #[schema(min_length = 1, max_length = 200)]
    pub name: String,
    /// Minor units of the currency.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub price: i64,
    pub seats: CreateSeats,
}

/// Seats by name, or rows of numbered ones.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CreateSeats {
    #[schema(value_type = Vec<SeatId>)]
    Named(Vec<String>),
    Rows(CreateRows),
}

/// `A-1 … B-50` from rows `A`, `B` with 50 seats each.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRows {
    pub rows: Vec<String>,
    pub per_row: u32,
}

/// A change of what is announced; seats and prices stay as they were sold.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ChangeConcert {
    #[serde(deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub title: Option<String>,
    #[serde(deserialize_with = "given")]
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub place: Option<String>,
    /// Unix seconds.
    #[serde(deserialize_with = "given")]
    #[schema(nullable = false, minimum = 1, maximum = 253_402_300_799_i64)]
    pub starts_at: Option<i64>,
    #[serde(deserialize_with = "given")]
    #[schema(nullable = false, pattern = "^[a-z0-9-]{1,32}$")]
    pub queue: Option<String>,
}

impl CreateConcert {
    /// The seats that are asked for, in order, or what is wrong with the request at `now`, in milliseconds.
    pub fn seats(&self, now: i64) -> Result<Vec<Seat>, Error> {
        let mut problems = Problems::default();
        problems.text("/title", &self.title);
        problems.text("/place", &self.place);
        problems.starts_at(self.starts_at);
        let is_over = (1..=now / 1_000).contains(&self.starts_at);
        problems.unless(!is_over, "/starts_at", "is in the future".to_owned());
        let mut count: usize = 0;
        for (index, tier) in self.tiers.iter().enumerate() {
            let at = |field: &str| format!("/tiers/{index}/{field}");
            problems.text(&at("name"), &tier.name);
            let price = format!("is a whole number from 1 to {PRICE_MAX}");
            problems.unless((1..=PRICE_MAX).contains(&tier.price), &at("price"), price);
            count = tier.seats.count().saturating_add(count);
            let most = format!("a concert has at most {SEATS_MAX} seats");
            problems.unless(count <= SEATS_MAX, &at("seats"), most);
        }
        problems.unless(count > 0, "/tiers", format!("name 1 to {SEATS_MAX} seats"));
        problems.none()?;
        self.named_seats()
    }

    /// Every seat once, each with an id that is one.
    fn named_seats(&self) -> Result<Vec<Seat>, Error> {
        let (mut seats, mut known) = (Vec::new(), HashSet::new());
        for (index, tier) in self.tiers.iter().enumerate() {
            let wrong =
                |code, reason: String| Error::field(code, &format!("/tiers/{index}/seats"), reason);
            for name in tier.seats.names() {
                let id = SeatId::parse(&name).ok_or_else(|| {
                    wrong(
                        Code::InvalidField,
                        "a seat id is 1 to 16 of A-Z, a-z, 0-9 and `-`".to_owned(),
                    )
                })?;
                if !known.insert(id.clone()) {
                    return Err(wrong(Code::DuplicateSeat, format!("seat `{id}` is named twice")));
                }
                seats.push(Seat { id, tier: tier.name.clone(), price: tier.price });
            }
        }
        Ok(seats)
    }
}

impl CreateSeats {
    /// Without naming them: a short request can ask for more rows than fit into memory.
    fn count(&self) -> usize {
        match self {
            Self::Named(names) => names.len(),
            Self::Rows(CreateRows { rows, per_row }) => {
                rows.len().saturating_mul(*per_row as usize)
            }
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.clone(),
            Self::Rows(CreateRows { rows, per_row }) => rows
                .iter()
                .flat_map(|row| (1..=*per_row).map(move |seat| format!("{row}-{seat}")))
                .collect(),
        }
    }
}

impl ChangeConcert {
    /// Whether what is to be announced can be.
    pub fn check(&self) -> Result<(), Error> {
        let mut problems = Problems::default();
        for (pointer, text) in [("/title", &self.title), ("/place", &self.place)] {
            if let Some(text) = text {
                problems.text(pointer, text);
            }
        }
        if let Some(starts_at) = self.starts_at {
            problems.starts_at(starts_at);
        }
        problems.none()
    }
}

/// Everything that is wrong with a request, told at once.
#[derive(Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn unless(&mut self, holds: bool, pointer: &str, reason: String) {
        if !holds {
            self.0.push(FieldProblem { pointer: pointer.to_owned(), reason });
        }
    }

    fn text(&mut self, pointer: &str, text: &str) {
        let holds = (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.contains('\0');
        self.unless(
            holds,
            pointer,
            format!("is 1 to {TEXT_CHARS_MAX} characters, none of them NUL"),
        );
    }

    fn starts_at(&mut self, starts_at: i64) {
        let holds = (1..=STARTS_AT_MAX).contains(&starts_at);
        self.unless(holds, "/starts_at", "is in Unix seconds, until the year 9999".to_owned());
    }

    fn none(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::InvalidFields { code: Code::InvalidField, problems: self.0 })
        }
    }
}
