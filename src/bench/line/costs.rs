//! What requests cost, out of several rounds: the middle of the rounds, and every ratio taken within a round before its
//! middle is, so that a disturbance falls on both sides of it. Nothing is measured here.

use std::time::Duration;

use serde::Serialize;

use super::super::load::Tally;
use super::super::meter::Spent;
use super::super::report::{median, rounded};

/// One load in one round.
pub struct Stretch {
    pub tally: Tally,
    pub spent: Spent,
}

/// What one request cost: counts over all rounds, and of everything else the median of the rounds.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub request: &'static str,
    requests: u64,
    pub errors: u64,
    #[serde(flatten)]
    pub costs: Costs,
    /// The same figures as multiples of the bare axum's, and of liveness's at the same server, within each round.
    pub ratio_to_bare_axum: Ratios,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_to_livez: Option<Ratios>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Costs {
    pub server_cpu_us_per_request: f64,
    pub redis_cpu_us_per_request: f64,
    pub generator_cpu_us_per_request: f64,
    pub redis_commands_per_request: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Only of what the yardstick has too: it asks no Redis.
#[derive(Debug, Serialize)]
pub struct Ratios {
    pub server_cpu: f64,
    /// Of server and Redis together, to the server's alone.
    pub server_and_redis_cpu: f64,
    pub requests_per_second: f64,
    pub p50: f64,
    pub p99: f64,
}

impl Costs {
    fn of(Stretch { tally, spent }: &Stretch) -> Self {
        let requests = tally.answered as f64;
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6 / requests;
        Self {
            server_cpu_us_per_request: micros(spent.server_cpu),
            redis_cpu_us_per_request: micros(spent.redis_cpu),
            generator_cpu_us_per_request: micros(spent.generator_cpu),
            redis_commands_per_request: spent.redis_commands as f64 / requests,
            requests_per_second: tally.per_second(),
            p50_ms: tally.quantile_ms(0.5),
            p99_ms: tally.quantile_ms(0.99),
        }
    }

    fn all(rounds: &[&Stretch]) -> Vec<Self> {
        rounds.iter().map(|stretch| Self::of(stretch)).collect()
    }
}

impl Ratios {
    /// Both are of the same rounds, in the same order.
    fn of(costs: &[Costs], yardstick: &[&Stretch]) -> Self {
        let yardstick = Costs::all(yardstick);
        let middle = |of: fn(&Costs) -> f64, to: fn(&Costs) -> f64| {
            rounded(median(costs.iter().zip(&yardstick).map(|(costs, than)| of(costs) / to(than))))
        };
        let server: fn(&Costs) -> f64 = |costs| costs.server_cpu_us_per_request;
        let both: fn(&Costs) -> f64 =
            |costs| costs.server_cpu_us_per_request + costs.redis_cpu_us_per_request;
        let alike = |figure| middle(figure, figure);
        Self {
            server_cpu: alike(server),
            server_and_redis_cpu: middle(both, server),
            requests_per_second: alike(|costs| costs.requests_per_second),
            p50: alike(|costs| costs.p50_ms),
            p99: alike(|costs| costs.p99_ms),
        }
    }
}

impl Figures {
    pub fn of(
        request: &'static str,
        rounds: &[&Stretch],
        bare: &[&Stretch],
        livez: Option<&[&Stretch]>,
    ) -> Self {
        let costs = Costs::all(rounds);
        let middle = |figure: fn(&Costs) -> f64| rounded(median(costs.iter().map(figure)));
        Self {
            request,
            requests: rounds.iter().map(|stretch| stretch.tally.answered).sum(),
            errors: rounds.iter().map(|stretch| stretch.tally.wrong).sum(),
            costs: Costs {
                server_cpu_us_per_request: middle(|costs| costs.server_cpu_us_per_request),
                redis_cpu_us_per_request: middle(|costs| costs.redis_cpu_us_per_request),
                generator_cpu_us_per_request: middle(|costs| costs.generator_cpu_us_per_request),
                redis_commands_per_request: middle(|costs| costs.redis_commands_per_request),
                requests_per_second: middle(|costs| costs.requests_per_second),
                p50_ms: middle(|costs| costs.p50_ms),
                p99_ms: middle(|costs| costs.p99_ms),
            },
            ratio_to_bare_axum: Ratios::of(&costs, bare),
            ratio_to_livez: livez.map(|livez| Ratios::of(&costs, livez)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand requests, and what they cost the server.
    fn stretch(server_ms: u64) -> Stretch {
        let mut tally = Tally::new().unwrap();
        (tally.answered, tally.took) = (1_000, Duration::from_secs(1));
        let (server_cpu, redis_cpu) = (Duration::from_millis(server_ms), Duration::from_millis(5));
        let generator_cpu = Duration::ZERO;
        Stretch {
            tally,
            spent: Spent { server_cpu, redis_cpu, generator_cpu, redis_commands: 2_000 },
        }
    }

    #[test]
    fn a_disturbed_round_moves_neither_the_figure_nor_its_ratio() {
        let (livez, polls) = ([10, 70, 10].map(stretch), [20, 140, 21].map(stretch));
        let (livez, polls) = (livez.each_ref(), polls.each_ref());
        let poll = Figures::of("GET /queue", &polls, &livez, Some(&livez));
        assert_eq!((poll.requests, poll.errors), (3_000, 0));
        assert_eq!(poll.costs.server_cpu_us_per_request, 21.0);
        assert_eq!(poll.costs.redis_commands_per_request, 2.0);
        let ratio = poll.ratio_to_livez.unwrap();
        assert_eq!((ratio.server_cpu, ratio.server_and_redis_cpu), (2.0, 2.5));
        let bare = Figures::of("GET /livez", &livez, &livez, None);
        assert_eq!(bare.ratio_to_bare_axum.server_cpu, 1.0);
    }
}
