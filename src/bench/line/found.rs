//! What `usher bench line` found, line by line. Nothing is measured here.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde::Serialize;

use super::super::crowd::Kind;
use super::super::load::Tally;
use super::super::report::{Report, rounded, table};
use super::super::server::Site;
use super::costs::{Figures, Stretch};
use super::{Line, ROUNDS};

const MIB: f64 = 1_048_576.0;

/// Every load once.
pub struct Round {
    pub bare: Stretch,
    /// Of each line, in their order.
    pub lines: Vec<BTreeMap<Kind, Stretch>>,
}

/// How a line was filled, and what is held while everybody waits.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Filled {
    pub people_waiting: u64,
    pub seconds: f64,
    pub joins_per_second: f64,
    pub server_rss_bytes: u64,
    pub redis_used_bytes: u64,
    pub redis_bytes_per_person: f64,
}

/// A line that is polled by hardly anybody.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Gentle {
    pub redis_commands_per_second: f64,
    /// The mean of what people all over the line were told.
    pub poll_after_seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Found {
    connections: u64,
    rounds: u64,
    stretch_seconds: u64,
    bare_axum: Figures,
    lines: Vec<LineFound>,
    /// How far the costs of a poll are apart: the largest of `polls` to `livez` over the smallest, less one.
    polls_differ_by: f64,
    #[serde(skip)]
    broken: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LineFound {
    #[serde(flatten)]
    filled: Filled,
    loads: BTreeMap<Kind, Figures>,
    #[serde(flatten)]
    gentle: Gentle,
    redis_commands_per_poll_as_told: f64,
}

impl Found {
    pub fn of(wanted: &Line, rounds: &[Round]) -> Self {
        let bare: Vec<&Stretch> = rounds.iter().map(|round| &round.bare).collect();
        let wrong = |request: &str, stretch: &Stretch| {
            let Tally { wrong, first_wrong, .. } = &stretch.tally;
            let told = first_wrong.as_ref()?;
            Some(format!("{wrong} wrong answers to {request}; the first: {told}"))
        };
        let broken = rounds.iter().flat_map(|round| {
            let loads = round.lines.iter().flatten();
            let loads = loads.filter_map(|(kind, stretch)| wrong(kind.request(), stretch));
            wrong("the bare axum", &round.bare).into_iter().chain(loads)
        });
        Self {
            connections: wanted.connections,
            rounds: ROUNDS,
            stretch_seconds: wanted.seconds,
            bare_axum: Figures::of("bare axum", &bare, &bare, None),
            lines: Vec::new(),
            polls_differ_by: 0.0,
            broken: broken.collect(),
        }
    }

    /// The next line, in the order of the rounds.
    pub fn add_line(&mut self, rounds: &[Round], filled: Filled, gentle: Gentle) {
        let line = self.lines.len();
        let bare: Vec<&Stretch> = rounds.iter().map(|round| &round.bare).collect();
        let of_kind = |kind| -> Vec<&Stretch> {
            rounds.iter().map(|round| &round.lines[line][&kind]).collect()
        };
        let livez = of_kind(Kind::Livez);
        let loads: BTreeMap<Kind, Figures> = Kind::ALL
            .map(|kind| (kind, Figures::of(kind.request(), &of_kind(kind), &bare, Some(&livez))))
            .into();
        // What the line asks Redis for while hardly anybody polls is shared by those who poll as told; what a poll adds
        // to it, if it adds anything, it costs each time.
        let poll = loads[&Kind::Poll].costs;
        let idle = gentle.redis_commands_per_second;
        let added = poll.redis_commands_per_request - idle / poll.requests_per_second;
        let told_per_second = filled.people_waiting as f64 / gentle.poll_after_seconds;
        self.lines.push(LineFound {
            filled,
            loads,
            gentle,
            redis_commands_per_poll_as_told: idle / told_per_second + added.max(0.0),
        });
        let polls = self.lines.iter().map(LineFound::poll_ratio);
        let (least, most) = polls
            .fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(ratio), most.max(ratio)));
        self.polls_differ_by = rounded(most / least - 1.0);
    }

    pub fn report(self, site: &Site) -> anyhow::Result<Report> {
        let Self { connections, rounds, stretch_seconds, .. } = self;
        let apart = match self.lines.len() {
            1 => String::new(),
            _ => format!(", polls within {:.0} % of each other", self.polls_differ_by * 100.0),
        };
        let how = format!(
            "{connections} connections, median of {rounds} rounds of {stretch_seconds} s{apart}"
        );
        let tables = [self.costs(), self.line_table()];
        Report::of(site, &how, &self, &tables, self.broken.clone())
    }

    fn costs(&self) -> Table {
        let bare = std::iter::once(("–".to_owned(), &self.bare_axum));
        let lines = self.lines.iter().flat_map(|line| {
            let people = line.filled.people_waiting.to_string();
            line.loads.values().map(move |figures| (people.clone(), figures))
        });
        let times =
            |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let rows = bare.chain(lines).map(|(people, figures)| {
            let Figures { request, costs, ratio_to_bare_axum, ratio_to_livez, errors, .. } =
                figures;
            let livez = ratio_to_livez.as_ref();
            [
                (*request).to_owned(),
                people,
                format!("{:.1}", costs.server_cpu_us_per_request),
                format!("{:.2}", ratio_to_bare_axum.server_cpu),
                times(livez.map(|ratios| ratios.server_cpu)),
                times(livez.map(|ratios| ratios.server_and_redis_cpu)),
                format!("{:.2}", costs.redis_commands_per_request),
                format!("{:.0}", costs.requests_per_second),
                format!("{:.2}", costs.p50_ms),
                format!("{:.2}", costs.p99_ms),
                errors.to_string(),
            ]
        });
        let head = [
            "Request",
            "waiting",
            "server CPU µs",
            "÷ bare axum",
            "÷ /livez",
            "with Redis ÷ /livez",
            "Redis commands",
            "requests/s",
            "p50 ms",
            "p99 ms",
            "errors",
        ];
        table(head, rows)
    }

    fn line_table(&self) -> Table {
        let head = [
            "People waiting",
            "joins/s while it filled",
            "server RSS MiB",
            "Redis MiB",
            "Redis bytes a person",
            "polls as told, s apart",
            "Redis commands a poll as told",
        ];
        let rows = self.lines.iter().map(|line| {
            let LineFound { filled, gentle, .. } = line;
            let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
            [
                filled.people_waiting.to_string(),
                format!("{:.0}", filled.joins_per_second),
                mib(filled.server_rss_bytes),
                mib(filled.redis_used_bytes),
                format!("{:.0}", filled.redis_bytes_per_person),
                format!("{:.1}", gentle.poll_after_seconds),
                format!("{:.4}", line.redis_commands_per_poll_as_told),
            ]
        });
        table(head, rows)
    }
}

impl LineFound {
    fn poll_ratio(&self) -> f64 {
        self.loads[&Kind::Poll].ratio_to_livez.as_ref().map_or(f64::NAN, |ratios| ratios.server_cpu)
    }
}
