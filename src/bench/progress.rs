//! How far a bench is, for whoever watches. Hidden where standard error is no terminal. Nothing that was found is told
//! here.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many steps.
pub fn steps(what: &'static str, length: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}, {eta} left")?;
    Ok(ProgressBar::new(length).with_style(style).with_message(what))
}

/// A bar that goes by the clock while the work is done.
pub async fn timed<T>(
    what: &'static str,
    about: Duration,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let bar = steps(what, about.as_secs())?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                bar.finish_and_clear();
                return done;
            }
            _ = second.tick() => bar.inc(1),
        }
    }
}
