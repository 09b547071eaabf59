//! What a bench found, as tables for people and as JSON for scripts. Nothing is judged here: what broke a promise was
//! said by the bench.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::meter::machine_bytes;
use super::server::Site;
use crate::clock::{Clock, rfc3339};

const GIB: f64 = 1_073_741_824.0;

/// Everything that was found.
pub struct Report {
    json: String,
    text: String,
    broken: Vec<String>,
}

/// Figures and the machine they are of. Names carry units; the order is that of the fields.
#[derive(Serialize)]
struct Written<'a, F> {
    measured_at: &'a str,
    /// `release`, or `checked` when debug assertions are built in: slower, and not to be quoted.
    build: &'static str,
    cores: usize,
    memory_gib: u64,
    database: &'static str,
    #[serde(flatten)]
    figures: &'a F,
    /// Promises that were not kept, and answers that were wrong.
    broken: &'a [String],
}

impl Report {
    /// `how` it was measured goes over the tables: `64 connections, …`.
    pub fn of(
        site: &Site,
        how: &str,
        figures: &impl Serialize,
        tables: &[Table],
        broken: Vec<String>,
    ) -> anyhow::Result<Self> {
        let written = Written {
            measured_at: &rfc3339(Clock::system().now_ms()),
            build: if cfg!(debug_assertions) { "checked" } else { "release" },
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: (machine_bytes()? as f64 / GIB).round() as u64,
            database: site.stores.database(),
            figures,
            broken: &broken,
        };
        let Written { build, cores, memory_gib, database, .. } = written;
        let day = written.measured_at.split('T').next().unwrap_or_default();
        let head = format!("{day}, {build} build, {cores} cores, {memory_gib} GiB, {database}");
        let tables: Vec<String> = tables.iter().map(Table::to_string).collect();
        let text = format!("{head}, {how}:\n\n{}", tables.join("\n\n"));
        Ok(Self { json: serde_json::to_string_pretty(&written)?, text, broken })
    }

    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        let text = if json { &self.json } else { &self.text };
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    /// Slow is no failure. A wrong answer is: its figures are of something else; and so is a promise not kept.
    pub fn verdict(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.broken.is_empty(), "{}", self.broken.join("\n"));
        Ok(())
    }
}

/// A table in Markdown, so that it can stand in a document as it is; figures are set right.
pub fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(head).add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A table of what was found.
pub fn findings<const N: usize>(about: &str, rows: [(&str, String); N]) -> Table {
    table([about, "found"], rows.map(|(what, found)| [what.to_owned(), found]))
}

/// Three decimals: more is noise.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
