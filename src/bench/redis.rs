//! The private Redis of a bench: what it says of itself, over a connection of its own. It reads
//! no key and writes none.

use std::path::Path;

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, InfoDict};

/// A Redis that is looked at.
pub struct Redis(MultiplexedConnection);

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub pid: u32,
    pub used_bytes: u64,
    /// Commands since its start: what clients sent, and what scripts did for them.
    pub commands: u64,
}

impl Redis {
    pub async fn at(socket: &Path) -> anyhow::Result<Self> {
        let client = Client::open(format!("redis+unix://{}", socket.display()))?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Self(connection.context("the private Redis does not answer")?))
    }

    pub async fn look(&mut self) -> anyhow::Result<Look> {
        let info: InfoDict = redis::cmd("INFO").query_async(&mut self.0).await?;
        Ok(Look {
            pid: field(&info, "process_id")?,
            used_bytes: field(&info, "used_memory")?,
            commands: field(&info, "total_commands_processed")?,
        })
    }

    /// Ends it, and what it holds with it.
    pub async fn end(mut self) {
        // It ends instead of answering.
        let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").exec_async(&mut self.0).await;
    }
}

fn field<T: FromRedisValue>(info: &InfoDict, name: &str) -> anyhow::Result<T> {
    info.get(name).with_context(|| format!("Redis does not tell its {name}"))
}
