//! One process: started with its log, signalled, buried. What it is asked to do is its owner's business.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

pub struct Process {
    child: Child,
    id: Pid,
}

impl Process {
    /// What it says is appended to `log`. It is a process group of its own: what interrupts us does not interrupt it.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{:?} does not start", command.as_std().get_program()))?;
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { child, id: id.context("it has ended")? })
    }

    pub fn signal(&self, signal: Signal) {
        // Who has just ended needs no signal.
        let _ = kill_process(self.id, signal);
    }

    /// Also to its children, which have process groups of their own.
    pub fn signal_family(&self, signal: Signal) -> anyhow::Result<()> {
        self.signal(signal);
        for entry in std::fs::read_dir("/proc")? {
            let stat = std::fs::read_to_string(entry?.path().join("stat")).unwrap_or_default();
            // `id (name) state parent …`, and the name may hold anything.
            let Some((id, rest)) = stat.split_once(' ') else { continue };
            let parent = rest.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            let is_child = parent == Some(&self.id.as_raw_nonzero().to_string());
            if let Some(child) = id.parse().ok().and_then(Pid::from_raw).filter(|_| is_child) {
                let _ = kill_process(child, signal);
            }
        }
        Ok(())
    }

    /// Dies at once, as with `kill -9`, and is gone when this returns.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, if it does within the time.
    pub async fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        tokio::time::timeout(within, self.child.wait()).await.ok()?.ok()
    }
}

/// Whether a process died as one does that was told to crash.
pub fn aborted(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::ABORT.as_raw())
}
