//! `usher ctl hold-rate`: leads the rate of a queue by how the shop behind it fares, until somebody else changes the
//! policy.
//!
//! Lives here: what may be typed, and the loop. What becomes of the rate is `step`'s; the measures are `figures`' (Usher's
//! own) and `probe`'s (a page of the shop).

mod figures;
mod probe;
mod step;

use std::fmt;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use self::figures::{Figures, Since};
use self::step::{Bounds, Look, Step};
use super::args::queue_name;
use super::client::{Answer, Api};
use super::request::{Request, read, write};
use super::{json, print};

/// From the least rate to the greatest in so many steps.
const STEPS: f64 = 20.0;

#[derive(Debug, Args)]
pub struct LeadRate {
    #[arg(value_parser = queue_name)]
    pub name: String,
    /// The least rate that it sets.
    #[arg(long, value_name = "RATE", value_parser = number)]
    min: f64,
    /// The greatest.
    #[arg(long, value_name = "RATE", value_parser = positive)]
    max: f64,
    /// Slower than this is too much.
    #[arg(long, value_name = "MS", value_parser = positive, default_value = "1000")]
    latency_max_ms: f64,
    /// More failed answers than this are too much.
    #[arg(long, value_name = "PERCENT", value_parser = number, default_value = "1")]
    errors_max_percent: f64,
    /// A page of the shop, asked for by curl at each look; without it Usher's own answers to bookings and payments decide.
    #[arg(long, value_name = "URL", value_parser = page)]
    probe: Option<Url>,
    /// Added to the rate where all is well; by default a twentieth of the way from --min to --max.
    #[arg(long, value_name = "RATE", value_parser = positive)]
    step: Option<f64>,
    /// What is left of the rate where it is too much.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5")]
    keep: f64,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600), default_value = "5")]
    every: u64,
    /// End after so many looks.
    #[arg(long, value_name = "COUNT")]
    looks: Option<u64>,
    /// Look and tell, and set nothing.
    #[arg(long)]
    watch: bool,
}

/// The queue at a look.
struct Line {
    rate: f64,
    tried: bool,
}

/// The policy as this run left it. Its tag grows without a change too: when people are let in by hand, or after a loss.
struct Left {
    etag: String,
    policy: Value,
    /// The rate that was sent last, whether or not an answer came.
    sent: Option<f64>,
}

/// The sums of one instance: those of two have nothing to do with each other.
struct Told {
    by: usize,
    figures: Figures,
}

/// One run, from one look to the next.
struct Lead<'a> {
    api: &'a Api,
    wish: &'a LeadRate,
    bounds: Bounds,
    left: Left,
    told: Option<Told>,
}

fn request(wish: &LeadRate) -> Request {
    read(format!("/admin/queues/{}/policy", wish.name))
}

pub async fn run(api: &Api, wish: &LeadRate) -> anyhow::Result<()> {
    let left = Left::read(&api.send(&request(wish)).await?)?;
    let mut lead = Lead { api, wish, bounds: wish.bounds()?, left, told: None };
    if let Some(url) = &wish.probe {
        let first = probe::probe(url, wish.pause()).await?;
        if first.errors_percent >= 100.0 {
            bail!("the --probe {url} does not answer with success: nothing can be measured by it");
        }
    }
    lead.told = lead.figures().await.ok();
    let mut looks = 0;
    while wish.looks != Some(looks) {
        tokio::time::sleep(wish.pause()).await;
        let said = lead.look().await?;
        print(&format!("{}: {said}", wish.name))?;
        looks += 1;
    }
    Ok(())
}

impl Lead<'_> {
    /// Looks once, and changes the rate if it has to be changed. What cannot be read stays as it is; the error is that
    /// there is nothing left to do.
    async fn look(&mut self) -> anyhow::Result<String> {
        let policy = match self.api.send(&request(self.wish)).await {
            Ok(policy) => policy,
            Err(error) => return Ok(format!("the rate stays: {error}")),
        };
        let found = Left::read(&policy)?;
        if !self.left.is(&found) {
            bail!("somebody else changed the policy of {}: it has the last word", self.wish.name);
        }
        self.left = Left { sent: self.left.sent, ..found };
        let line = match self.line().await {
            Ok(line) => line,
            Err(error) => return Ok(format!("the rate stays: {error}")),
        };
        let look = Look { tried: line.tried, ..self.measure().await };
        let (to, word) = match self.bounds.step(line.rate, &look) {
            Step::Stay(why) => return Ok(format!("{}/s, {}; {why}", line.rate, Measured(&look))),
            Step::Raise(to) => (to, "up"),
            Step::Lower(to) => (to, "down"),
        };
        let said = format!("{}/s, {}; {word} to {to}/s", line.rate, Measured(&look));
        if self.wish.watch {
            return Ok(format!("{said} (--watch: not set)"));
        }
        match self.set(to).await {
            Ok(()) => Ok(said),
            // The next look sees what became of it, and whether somebody else was first.
            Err(error) => Ok(format!("{said}, which failed: {error}")),
        }
    }

    async fn line(&self) -> anyhow::Result<Line> {
        let queue = self.api.send(&read(format!("/admin/queues/{}", self.wish.name))).await?;
        let queue = json(&queue)?;
        let number = |name: &str| queue[name].as_f64().with_context(|| format!("no {name}"));
        let rate = number("rate_now_per_second")?;
        let moves = matches!(queue["reason"].as_str(), None | Some("rate_lowered" | "turns_taken"));
        let used = number("measured_rate_per_second")? >= rate / 2.0;
        Ok(Line { rate, tried: moves && used && number("waiting")? > 0.0 })
    }

    /// The worse of what Usher and the shop tell. A shop that is not asked needs to tell nothing.
    async fn measure(&mut self) -> Look {
        let now = self.figures().await.ok();
        let earlier = self.told.take();
        let both = now.as_ref().zip(earlier.as_ref()).filter(|(now, then)| now.by == then.by);
        let own = both.and_then(|(now, then)| now.figures.since(&then.figures));
        let complete = both.is_some();
        self.told = now;
        let shop = match &self.wish.probe {
            Some(url) => probe::probe(url, self.wish.pause()).await.ok(),
            None => None,
        };
        let complete = complete && shop.is_some() == self.wish.probe.is_some();
        let worse = |measure: fn(&Since) -> f64| {
            [&own, &shop].into_iter().flatten().map(measure).max_by(f64::total_cmp)
        };
        Look {
            latency_ms: worse(|since| since.latency_ms),
            errors_percent: worse(|since| since.errors_percent),
            complete,
            tried: false,
        }
    }

    async fn figures(&self) -> anyhow::Result<Told> {
        let answer = self.api.send(&read("/metrics")).await?;
        Ok(Told { by: answer.from, figures: Figures::read(&answer.body) })
    }

    async fn set(&mut self, rate: f64) -> anyhow::Result<()> {
        let body: Value = json!({"rate_per_second": rate});
        let request = Request {
            if_match: Some(self.left.etag.clone()),
            ..write(Method::PUT, request(self.wish).path, &body)
        };
        self.left.sent = Some(rate);
        self.left = Left::read(&self.api.send(&request).await?)?;
        Ok(())
    }
}

impl Left {
    fn read(answer: &Answer) -> anyhow::Result<Self> {
        let etag = answer.etag.clone().context("the server sent no ETag")?;
        Ok(Self { etag, policy: json(answer)?, sent: None })
    }

    /// Whether the policy that was found is this one, or this one with the rate that was sent.
    fn is(&self, found: &Self) -> bool {
        let mut sent = self.policy.clone();
        if let Some(rate) = self.sent {
            sent["rate_per_second"] = rate.into();
            // Without one of its own it follows the rate.
            sent["burst"] = found.policy["burst"].clone();
        }
        self.etag == found.etag || found.policy == self.policy || found.policy == sent
    }
}

impl LeadRate {
    fn bounds(&self) -> anyhow::Result<Bounds> {
        if self.min >= self.max {
            bail!("--min is not below --max");
        }
        Ok(Bounds {
            min: self.min,
            max: self.max,
            step: self.step.unwrap_or((self.max - self.min) / STEPS),
            keep: self.keep,
            latency_max_ms: self.latency_max_ms,
            errors_max_percent: self.errors_max_percent,
        })
    }

    /// Between two looks, and for a page of the shop to come.
    fn pause(&self) -> Duration {
        Duration::from_secs(self.every)
    }
}

/// A look as a person reads it.
struct Measured<'a>(&'a Look);

impl fmt::Display for Measured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.latency_ms, self.0.errors_percent) {
            (Some(latency), Some(errors)) => write!(f, "{latency:.0} ms, {errors:.1} % errors"),
            _ => f.write_str("nothing to measure"),
        }
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number is expected".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text)
        .ok()
        .filter(|number| *number > 0.0)
        .ok_or("a number above 0 is expected".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.1..1.0).contains(share));
    share.ok_or_else(|| "a share from 0.1 to below 1 is expected".to_owned())
}

fn page(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("an address such as https://shop.example/ is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Left;

    fn left(etag: &str, rate: f64, mode: &str) -> Left {
        let policy = json!({"rate_per_second": rate, "burst": rate, "mode": mode});
        Left { etag: etag.to_owned(), policy, sent: None }
    }

    #[test]
    fn a_tag_that_grew_alone_and_an_order_whose_answer_was_lost_are_no_change_of_others() {
        let ours = Left { sent: Some(5.0), ..left("v3", 4.0, "open") };
        for found in [left("v3", 4.0, "open"), left("v4", 4.0, "open"), left("v5", 5.0, "open")] {
            assert!(ours.is(&found), "{}", found.policy);
        }
        for found in [left("v4", 4.0, "paused"), left("v4", 5.0, "paused"), left("v4", 6.0, "open")]
        {
            assert!(!ours.is(&found), "{}", found.policy);
        }
    }
}
