//! What a bench found: the middle of the rounds, as a table for people and as JSON for scripts. It judges nothing but
//! whether the answers were right.

use std::collections::BTreeMap;
use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::crowd::Kind;
use super::load::Tally;
use super::meter::{Spent, machine_bytes};
use super::{Line, ROUNDS};

const GIB: f64 = 1_073_741_824.0;
const MIB: f64 = 1_048_576.0;

/// One load in one round.
pub struct Stretch {
    pub tally: Tally,
    pub spent: Spent,
}

/// Everything that was found. Names carry units; the order is that of the fields.
#[derive(Debug, Serialize)]
pub struct Report {
    measured_at: String,
    /// `release`, or `checked` when debug assertions are built in: slower, and not to be quoted.
    build: &'static str,
    cores: usize,
    memory_gib: u64,
    database: &'static str,
    connections: u64,
    rounds: u64,
    stretch_seconds: u64,
    fill: Fill,
    memory: Memory,
    loads: BTreeMap<Kind, Figures>,
    #[serde(skip)]
    first_wrong: Option<String>,
}

/// How the line was filled.
#[derive(Debug, Serialize)]
struct Fill {
    people_waiting: u64,
    seconds: f64,
    joins_per_second: f64,
}

/// What is held while everybody waits.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub server_rss_bytes: u64,
    pub redis_used_bytes: u64,
    pub redis_bytes_per_person: f64,
}

/// What one request cost: counts over all rounds, and of everything else the median of the rounds.
#[derive(Debug, Serialize)]
struct Figures {
    request: &'static str,
    requests: u64,
    errors: u64,
    #[serde(flatten)]
    costs: Costs,
    /// The same figures as multiples of liveness's, within each round.
    ratio_to_livez: Ratios,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Costs {
    server_cpu_us_per_request: f64,
    redis_cpu_us_per_request: f64,
    generator_cpu_us_per_request: f64,
    redis_commands_per_request: f64,
    requests_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Only of what liveness has too: it asks no Redis.
#[derive(Debug, Serialize)]
struct Ratios {
    server_cpu: f64,
    requests_per_second: f64,
    p50: f64,
    p99: f64,
}

impl Costs {
    fn of(Stretch { tally, spent }: &Stretch) -> Self {
        let requests = tally.answered as f64;
        let micros = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / requests;
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
}

impl Figures {
    /// `rounds` and `livez` are of the same rounds, in the same order.
    fn of(kind: Kind, rounds: &[&Stretch], livez: &[&Stretch]) -> Self {
        let costs: Vec<Costs> = rounds.iter().map(|stretch| Costs::of(stretch)).collect();
        let yardstick: Vec<Costs> = livez.iter().map(|stretch| Costs::of(stretch)).collect();
        let middle = |figure: fn(&Costs) -> f64| rounded(median(costs.iter().map(figure)));
        let ratio = |figure: fn(&Costs) -> f64| {
            let pairs = costs.iter().zip(&yardstick);
            rounded(median(pairs.map(|(costs, livez)| figure(costs) / figure(livez))))
        };
        Self {
            request: kind.request(),
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
            ratio_to_livez: Ratios {
                server_cpu: ratio(|costs| costs.server_cpu_us_per_request),
                requests_per_second: ratio(|costs| costs.requests_per_second),
                p50: ratio(|costs| costs.p50_ms),
                p99: ratio(|costs| costs.p99_ms),
            },
        }
    }
}

impl Report {
    pub(super) fn of(
        wanted: &Line,
        measured_at: String,
        filled: &Tally,
        memory: Memory,
        rounds: &[BTreeMap<Kind, Stretch>],
    ) -> anyhow::Result<Self> {
        let of_kind = |kind| rounds.iter().map(|round| &round[&kind]).collect::<Vec<_>>();
        let livez = of_kind(Kind::Livez);
        let figures = |kind| (kind, Figures::of(kind, &of_kind(kind), &livez));
        let wrong = rounds.iter().flatten().find_map(|(kind, stretch)| {
            let told = stretch.tally.first_wrong.as_ref()?;
            Some(format!("{} {told}", kind.request()))
        });
        let url = wanted.database_url.as_deref().unwrap_or_default();
        Ok(Self {
            measured_at,
            build: if cfg!(debug_assertions) { "checked" } else { "release" },
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: (machine_bytes()? as f64 / GIB).round() as u64,
            database: if url.starts_with("postgres") { "PostgreSQL" } else { "SQLite" },
            connections: wanted.connections,
            rounds: ROUNDS,
            stretch_seconds: wanted.seconds,
            fill: Fill {
                people_waiting: wanted.waiting,
                seconds: rounded(filled.took.as_secs_f64()),
                joins_per_second: rounded(filled.per_second()),
            },
            memory,
            loads: Kind::ALL.map(figures).into(),
            first_wrong: wrong,
        })
    }

    /// Wrong answers fail the run: their figures are of something else.
    pub fn verdict(&self) -> anyhow::Result<()> {
        match &self.first_wrong {
            Some(told) => {
                let errors: u64 = self.loads.values().map(|figures| figures.errors).sum();
                anyhow::bail!("{errors} wrong answers; the first: {told}")
            }
            None => Ok(()),
        }
    }

    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        let text = if json { serde_json::to_string_pretty(self)? } else { self.tables() };
        writeln!(std::io::stdout(), "{text}")?;
        Ok(())
    }

    /// Markdown, so that it can stand in a document as it is.
    fn tables(&self) -> String {
        let Self { build, cores, memory_gib, database, connections, rounds, .. } = self;
        let day = self.measured_at.split('T').next().unwrap_or_default();
        let seconds = self.stretch_seconds;
        format!(
            "{day}, {build} build, {cores} cores, {memory_gib} GiB, {database}, {connections} connections, median of \
             {rounds} rounds of {seconds} s:\n\n{}\n\n{}",
            self.costs(),
            self.line()
        )
    }

    fn costs(&self) -> Table {
        let mut table = markdown();
        table.set_header([
            "Request",
            "server CPU µs",
            "Redis CPU µs",
            "Redis commands",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "errors",
        ]);
        for Figures { request, costs, ratio_to_livez: ratio, errors, .. } in self.loads.values() {
            table.add_row([
                (*request).to_owned(),
                format!("{:.1} (×{:.2})", costs.server_cpu_us_per_request, ratio.server_cpu),
                format!("{:.1}", costs.redis_cpu_us_per_request),
                format!("{:.2}", costs.redis_commands_per_request),
                format!("{:.0} (×{:.2})", costs.requests_per_second, ratio.requests_per_second),
                format!("{:.2} (×{:.2})", costs.p50_ms, ratio.p50),
                format!("{:.2} (×{:.2})", costs.p99_ms, ratio.p99),
                errors.to_string(),
            ]);
        }
        right_aligned(table)
    }

    fn line(&self) -> Table {
        let Self { fill, memory, .. } = self;
        let mut table = markdown();
        table.set_header(["The line", "found"]);
        for (what, found) in [
            ("people waiting", fill.people_waiting.to_string()),
            ("joins/s while it filled", format!("{:.0}", fill.joins_per_second)),
            ("server memory (RSS), MiB", format!("{:.1}", memory.server_rss_bytes as f64 / MIB)),
            ("Redis memory (used), MiB", format!("{:.1}", memory.redis_used_bytes as f64 / MIB)),
            ("Redis bytes a person", format!("{:.0}", memory.redis_bytes_per_person)),
        ] {
            table.add_row([what.to_owned(), found]);
        }
        right_aligned(table)
    }
}

fn markdown() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table
}

fn right_aligned(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Three decimals: more is noise.
fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A thousand requests, and what they cost the server.
    fn stretch(server_ms: u64) -> Stretch {
        let mut tally = Tally::new().unwrap();
        (tally.answered, tally.took) = (1_000, Duration::from_secs(1));
        let server_cpu = Duration::from_millis(server_ms);
        let none = Duration::ZERO;
        let spent =
            Spent { server_cpu, redis_cpu: none, generator_cpu: none, redis_commands: 2_000 };
        Stretch { tally, spent }
    }

    #[test]
    fn a_disturbed_round_moves_neither_the_figure_nor_its_ratio() {
        let (livez, polls) = ([10, 70, 10].map(stretch), [20, 140, 21].map(stretch));
        let of = |rounds: &[Stretch; 3], kind| {
            Figures::of(kind, &rounds.each_ref()[..], &livez.each_ref()[..])
        };
        let poll = of(&polls, Kind::Poll);
        assert_eq!((poll.requests, poll.errors), (3_000, 0));
        assert_eq!(poll.costs.server_cpu_us_per_request, 21.0);
        assert_eq!(poll.costs.redis_commands_per_request, 2.0);
        assert_eq!(poll.ratio_to_livez.server_cpu, 2.0);
        assert_eq!(of(&livez, Kind::Livez).ratio_to_livez.server_cpu, 1.0);
    }
}
