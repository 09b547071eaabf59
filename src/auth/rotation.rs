//! Keys that come from a file and are read again when it changes: no rotation needs a restart. What a file means is
//! known to whoever holds its keys.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

/// What is in force, for readers that never wait.
pub(super) struct Rotating<T> {
    now: ArcSwap<T>,
    /// `None`: it was given as a setting, and stays.
    file: Option<PathBuf>,
    /// What the file said last, whether or not it holds.
    seen: Mutex<Option<Result<Vec<u8>, String>>>,
}

impl<T> Rotating<T> {
    pub(super) fn new(now: T, file: Option<PathBuf>) -> Self {
        Self { now: ArcSwap::from_pointee(now), file, seen: Mutex::default() }
    }

    pub(super) fn load(&self) -> Guard<Arc<T>> {
        self.now.load()
    }

    /// Reads the file again. One that does not hold changes nothing, and each thing that it says is told once.
    pub(super) async fn refresh(&self, understand: impl FnOnce(&[u8]) -> Result<T, String>) {
        let Some(file) = &self.file else { return };
        let read = tokio::fs::read(file).await.map_err(|error| error.to_string());
        let before = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.as_ref() == Some(&read) {
                return;
            }
            seen.replace(read.clone())
        };
        let file = file.display();
        match read.and_then(|text| understand(&text)) {
            Ok(keys) => {
                self.now.store(Arc::new(keys));
                // The first look, before anybody is served, finds what the start found.
                if before.is_some() {
                    tracing::info!(%file, "the keys were read again");
                }
            }
            Err(error) => {
                tracing::error!(%file, %error, "the keys do not hold; those before stay in force");
            }
        }
    }
}
