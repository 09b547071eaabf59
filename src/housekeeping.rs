//! Jobs by the clock: a line of schedule and a call each. Whole seconds only; no promise to buyers needs them, and what
//! is missed comes again.

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::app::App;
use crate::error::Error;

/// Starts the jobs. They end with the process, or when the scheduler is told to.
pub async fn start(app: &App) -> Result<JobScheduler, Error> {
    let bug = |error: JobSchedulerError| Error::Internal {
        context: "a job cannot be scheduled",
        source: error.into(),
    };
    let scheduler = JobScheduler::new().await.map_err(bug)?;
    let jobs =
        [
            job(app, "*/10 * * * * *", "housekeeping", |app| async move { app.housekeep().await }),
            job(app, "* * * * * *", "the schedule", |app| async move {
                app.queue.carry_out_due().await
            }),
            job(app, "* * * * * *", "the keys", |app| async move {
                app.refresh_keys().await;
                Ok(())
            }),
        ];
    for job in jobs {
        scheduler.add(job.map_err(bug)?).await.map_err(bug)?;
    }
    scheduler.start().await.map_err(bug)?;
    Ok(scheduler)
}

fn job<F: Future<Output = Result<(), Error>> + Send + 'static>(
    app: &App,
    times: &str,
    name: &'static str,
    work: impl Fn(App) -> F + Send + Sync + 'static,
) -> Result<Job, JobSchedulerError> {
    let app = app.clone();
    Job::new_async(times, move |_, _| {
        let work = work(app.clone());
        Box::pin(async move {
            if let Err(error) = work.await {
                tracing::warn!(%error, "{name} failed; it comes again");
            }
        })
    })
}
