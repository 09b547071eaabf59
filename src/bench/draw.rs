//! `usher bench draw`: how long a draw of many people takes to open, and everybody's place in it, for `scripts/verify-draw`
//! to recompute. What is right is the script's to say: here places are only counted.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::crowd::join_all;
use super::people::Person;
use super::report::{Report, findings, rounded};
use super::server::{Shop, Site};

/// How often somebody asks who waits for his place.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// A draw that takes longer does not open at all.
const OPENING_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub struct Draw {
    /// People who come before the opening.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u64).range(1..=10_000_000))]
    people: u64,
    /// Ask for the places of so many of them; of all when not given.
    #[arg(long, value_name = "COUNT")]
    sample: Option<u64>,
    /// Write `draw_number,place` lines there.
    #[arg(long, value_name = "FILE")]
    places: Option<PathBuf>,
    /// Write the opened draw there, as `GET /queues/{name}/draw` answers it.
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Found {
    people: u64,
    joins_per_second: f64,
    /// From the operator's request to its answer, and to somebody's place.
    opening_answered_ms: f64,
    place_known_ms: f64,
    places_asked: u64,
    places_per_second: f64,
}

/// An answer to a join, as far as it matters here.
#[derive(Deserialize)]
struct Drawn {
    draw_number: u64,
    position: Option<u64>,
}

/// The places that were told.
struct Told {
    lines: Option<BufWriter<File>>,
    /// By place: whether somebody has it.
    taken: Vec<bool>,
    wrong: Option<String>,
}

impl Draw {
    pub async fn measure(&self, site: &mut Site) -> anyhow::Result<Report> {
        let shop = site.open(&[]).await?;
        // Nobody is let in: then a position is a place.
        shop.operator.tune("main", &json!({ "mode": "paused", "active_max": 0 })).await?;
        shop.operator.announce_draw("main").await?;
        let is_drawn = |body: &[u8]| read(body).is_some_and(|drawn| drawn.position.is_none());
        let joined = join_all(shop.public, "main", 1..self.people + 1, is_drawn).await?;
        let (answered, known) = self.open(&shop).await?;
        let told = Arc::new(Mutex::new(self.told()?));
        let asked = self.sample.unwrap_or(self.people).min(self.people);
        let hearing = told.clone();
        let hear = move |body: &[u8]| {
            hearing.lock().unwrap_or_else(PoisonError::into_inner).hear(body).is_ok()
        };
        let places = join_all(shop.public, "main", 1..asked + 1, hear).await?;
        self.write_draw(&shop).await?;
        let broken = told.lock().unwrap_or_else(PoisonError::into_inner).finish()?;
        let found = Found {
            people: self.people,
            joins_per_second: rounded(joined.per_second()),
            opening_answered_ms: rounded(answered.as_secs_f64() * 1e3),
            place_known_ms: rounded(known.as_secs_f64() * 1e3),
            places_asked: asked,
            places_per_second: rounded(places.per_second()),
        };
        found.report(site, broken)
    }

    /// Opens the draw. How long the operator waited for the answer, and somebody in the middle for a place.
    async fn open(&self, shop: &Shop) -> anyhow::Result<(Duration, Duration)> {
        let mut somebody = Person::join(shop, "main", self.people.div_ceil(2)).await?;
        let began = Instant::now();
        shop.operator.tune("main", &json!({ "mode": "open" })).await?;
        let answered = began.elapsed();
        while somebody.poll().await?.position.is_none() {
            if began.elapsed() > OPENING_MAX {
                bail!("the draw was not open after {OPENING_MAX:?}");
            }
            sleep(LOOK_PAUSE).await;
        }
        Ok((answered, began.elapsed()))
    }

    fn told(&self) -> anyhow::Result<Told> {
        let create =
            |path: &PathBuf| File::create(path).with_context(|| path.display().to_string());
        let lines = self.places.as_ref().map(create).transpose()?.map(BufWriter::new);
        let taken = vec![false; usize::try_from(self.people)? + 1];
        Ok(Told { lines, taken, wrong: None })
    }

    async fn write_draw(&self, shop: &Shop) -> anyhow::Result<()> {
        let Some(path) = &self.draw else { return Ok(()) };
        let draw: Value = shop.people.ask("GET /queues/main/draw", None, None).await?.json()?;
        std::fs::write(path, draw.to_string()).with_context(|| path.display().to_string())
    }
}

impl Told {
    fn hear(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let drawn = read(body).context("no place of a draw")?;
        let place = drawn.position.context("no place yet")?;
        match self.taken.get_mut(usize::try_from(place)?) {
            Some(taken) if !*taken => *taken = true,
            _ => {
                let wrong = format!("place {place} was given twice, or to nobody who was drawn");
                self.wrong.get_or_insert(wrong);
            }
        }
        if let Some(lines) = &mut self.lines {
            writeln!(lines, "{},{place}", drawn.draw_number)?;
        }
        Ok(())
    }

    /// Everything is written. What was wrong.
    fn finish(&mut self) -> anyhow::Result<Vec<String>> {
        if let Some(lines) = &mut self.lines {
            lines.flush()?;
        }
        Ok(self.wrong.take().into_iter().collect())
    }
}

impl Found {
    fn report(self, site: &Site, broken: Vec<String>) -> anyhow::Result<Report> {
        let how = format!("a draw of {} people", self.people);
        let table = findings(
            "Draw",
            [
                ("joins a second before the opening", format!("{:.0}", self.joins_per_second)),
                ("the opening is answered after ms", format!("{:.0}", self.opening_answered_ms)),
                ("somebody knows his place after ms", format!("{:.0}", self.place_known_ms)),
                ("places asked for", self.places_asked.to_string()),
                ("places a second", format!("{:.0}", self.places_per_second)),
                ("promises broken", broken.len().to_string()),
            ],
        );
        Report::of(site, &how, &self, &[table], broken)
    }
}

fn read(body: &[u8]) -> Option<Drawn> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_told_twice_or_to_one_too_many_is_wrong() {
        let answer = |place| format!(r#"{{"draw_number":1,"position":{place}}}"#);
        for (places, is_wrong) in [([1, 2], false), ([2, 2], true), ([1, 3], true)] {
            let mut told = Told { lines: None, taken: vec![false; 3], wrong: None };
            for place in places {
                told.hear(answer(place).as_bytes()).unwrap();
            }
            assert_eq!(told.finish().unwrap().is_empty(), !is_wrong, "{places:?}");
        }
        let mut told = Told { lines: None, taken: Vec::new(), wrong: None };
        assert!(told.hear(br#"{"draw_number":1,"reason":"draw"}"#).is_err());
    }
}
