//! Jobs by the clock: a line of schedule and a call each. Whole seconds only; nothing here is needed for a promise.

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
    let housekept = app.clone();
    let every_ten_seconds = Job::new_async("*/10 * * * * *", move |_, _| {
        let app = housekept.clone();
        Box::pin(async move {
            if let Err(error) = app.housekeep().await {
                tracing::warn!(%error, "housekeeping failed; it comes again");
            }
        })
    });
    scheduler.add(every_ten_seconds.map_err(bug)?).await.map_err(bug)?;
    scheduler.start().await.map_err(bug)?;
    Ok(scheduler)
}
