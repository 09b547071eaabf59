//! Writes a history: one task, one file, one clock. Nothing is judged here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::history::{Fault, Op, Outcome, Record, Run};

/// The way to the file. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    began: Instant,
    lines: mpsc::UnboundedSender<Record>,
    writer: Mutex<Option<JoinHandle<std::io::Result<()>>>>,
    tally: Mutex<Tally>,
}

/// How many requests came to what.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub ok: u64,
    pub refused: u64,
    pub unknown: u64,
    /// By code, status or reason.
    pub by_word: BTreeMap<String, u64>,
}

impl Recorder {
    /// Begins a history; the clock shows zero now.
    pub async fn create(path: &Path, run: Run) -> anyhow::Result<Self> {
        let file = tokio::fs::File::create(path).await;
        let mut file = BufWriter::new(file.with_context(|| path.display().to_string())?);
        let (lines, mut coming) = mpsc::unbounded_channel::<Record>();
        let writer = tokio::spawn(async move {
            while let Some(record) = coming.recv().await {
                let mut line = serde_json::to_vec(&record)?;
                line.push(b'\n');
                file.write_all(&line).await?;
            }
            file.flush().await
        });
        let inner = Inner {
            began: Instant::now(),
            lines,
            writer: Mutex::new(Some(writer)),
            tally: Mutex::default(),
        };
        let recorder = Self(Arc::new(inner));
        recorder.write(Record::Run(run));
        Ok(recorder)
    }

    /// Microseconds since the start of the run.
    pub fn now_us(&self) -> i64 {
        i64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    pub fn op(&self, op: Op) {
        let mut tally = self.0.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let word = match &op.outcome {
            Outcome::Ok { .. } => {
                tally.ok += 1;
                "ok".to_owned()
            }
            Outcome::Refused { status, code, .. } => {
                tally.refused += 1;
                format!("{status} {code}")
            }
            Outcome::Unknown { status, code, why } => {
                tally.unknown += 1;
                match (status, code) {
                    (Some(status), Some(code)) => format!("{status} {code}"),
                    _ => why.clone(),
                }
            }
        };
        *tally.by_word.entry(word).or_default() += 1;
        drop(tally);
        self.write(Record::Op(op));
    }

    pub fn fault(&self, fault: Fault) {
        self.write(Record::Fault(fault));
    }

    pub fn tally(&self) -> Tally {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, record: Record) {
        // The task ends only when the file cannot be written, which `close` tells.
        let _ = self.0.lines.send(record);
    }

    /// Waits until everything stands in the file. Nobody else may hold a recorder any more.
    pub async fn close(self) -> anyhow::Result<Tally> {
        let tally = self.tally();
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(self);
        if let Some(writer) = writer {
            writer.await?.context("the history could not be written")?;
        }
        Ok(tally)
    }
}
