//! The body of `POST /admin/concerts`, from a file, from stdin or from flags.
//!
//! May not live here: judging it. A file is sent byte for byte, so that the server's complaint
//! points into it.

use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::args::NewConcert;

/// A slip of the hand such as `1-1000000000` should not fill the memory; no hall comes near it.
const ROWS_MAX: u32 = 1_000;

/// One price and the rows it is asked for: `NAME:PRICE:ROWS:PER_ROW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    name: String,
    price: u64,
    rows: Vec<String>,
    per_row: u64,
}

pub fn body(new: &NewConcert) -> anyhow::Result<String> {
    match &new.file {
        Some(file) if file == Path::new("-") => {
            std::io::read_to_string(std::io::stdin()).context("cannot read stdin")
        }
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        None => Ok(from_flags(new)),
    }
}

fn from_flags(new: &NewConcert) -> String {
    let mut body = Map::new();
    body.insert("title".to_owned(), json!(new.title));
    body.insert("place".to_owned(), json!(new.place));
    body.insert("starts_at".to_owned(), json!(new.starts_at));
    if let Some(queue) = &new.queue {
        body.insert("queue".to_owned(), json!(queue));
    }
    let tiers = new.tiers.iter().map(Tier::json).collect();
    body.insert("tiers".to_owned(), Value::Array(tiers));
    Value::Object(body).to_string()
}

impl Tier {
    fn json(&self) -> Value {
        let seats = json!({"rows": self.rows, "per_row": self.per_row});
        json!({"name": self.name, "price": self.price, "seats": seats})
    }
}

impl FromStr for Tier {
    type Err = String;

    /// Read from the right: a name may contain colons.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(4, ':');
        let (Some(per_row), Some(rows), Some(price), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("NAME:PRICE:ROWS:PER_ROW is expected, e.g. Stalls:50000:A-J:50".to_owned());
        };
        Ok(Self {
            name: name.to_owned(),
            price: price
                .parse()
                .map_err(|_| "PRICE is an integer in the smallest coin".to_owned())?,
            rows: row_names(rows)?,
            per_row: per_row.parse().map_err(|_| "PER_ROW is a count of seats".to_owned())?,
        })
    }
}

/// `A-J`, `1-20`, single names, and any of them with commas between.
fn row_names(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for part in text.split(',') {
        match span(part) {
            Some((first, last)) if first > last => {
                return Err(format!("the rows {part} run backwards"));
            }
            Some((first, last)) if last - first >= ROWS_MAX => {
                return Err(format!("at most {ROWS_MAX} rows a tier"));
            }
            Some((first, last)) if part.starts_with(|letter: char| letter.is_ascii_digit()) => {
                names.extend((first..=last).map(|row| row.to_string()));
            }
            Some((first, last)) => {
                names.extend((first..=last).filter_map(char::from_u32).map(String::from));
            }
            None if part.is_empty() => return Err("a row has no name".to_owned()),
            None => names.push(part.to_owned()),
        }
    }
    Ok(names)
}

/// The ends of a range of numbers or of single letters of one case; `None` for a plain name.
fn span(part: &str) -> Option<(u32, u32)> {
    let (first, last) = part.split_once('-')?;
    if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
        return Some((first, last));
    }
    match (first.as_bytes(), last.as_bytes()) {
        ([first], [last])
            if (first.is_ascii_uppercase() && last.is_ascii_uppercase())
                || (first.is_ascii_lowercase() && last.is_ascii_lowercase()) =>
        {
            Some((u32::from(*first), u32::from(*last)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Tier;

    fn rows(text: &str) -> Result<Vec<String>, String> {
        format!("Stalls:5000:{text}:10").parse::<Tier>().map(|tier| tier.rows)
    }

    #[test]
    fn a_tier_is_read_from_the_right() {
        let tier: Tier = "Early: stalls:5000:A-C:50".parse().unwrap();
        assert_eq!(tier.name, "Early: stalls");
        assert_eq!((tier.price, tier.per_row), (5000, 50));
        assert_eq!(tier.rows, ["A", "B", "C"]);
    }

    #[test]
    fn rows_are_ranges_and_names() {
        assert_eq!(rows("A").unwrap(), ["A"]);
        assert_eq!(rows("9-11").unwrap(), ["9", "10", "11"]);
        assert_eq!(rows("x-y,AA,BB-1").unwrap(), ["x", "y", "AA", "BB-1"]);
    }

    #[test]
    fn rows_that_cannot_be_meant_are_refused() {
        rows("J-A").unwrap_err();
        rows("1-1000000000").unwrap_err();
        rows("A,,B").unwrap_err();
        rows("").unwrap_err();
    }

    #[test]
    fn a_tier_needs_all_four_parts() {
        "Stalls:5000:A".parse::<Tier>().unwrap_err();
        "Stalls:five:A:10".parse::<Tier>().unwrap_err();
        "Stalls:5000:A:-1".parse::<Tier>().unwrap_err();
    }
}
