//! How long things took, and what the longest of them say.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Above any deadline of the server's; three digits tell 1.00 ms from 1.01 ms.
const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// Durations, counted.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Times {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, MICROS_MAX, DIGITS)?))
    }

    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(took.as_micros() as u64);
    }

    pub fn add(&mut self, other: &Times) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub fn quantiles(&self) -> Quantiles {
        let [p50_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|quantile| self.quantile_ms(quantile));
        Quantiles { count: self.0.len(), p50_ms, p99_ms, max_ms }
    }
}
