//! A clean stop of the private Redis. Its successor has another lineage, which would be doubt; the seal proves that
//! what it loaded is everything the old one had: written last on the way out, known to SQL, good for one start.

use super::Queues;
use crate::chance;
use crate::error::Error;
use crate::redis::keys;

impl Queues {
    /// Seals the state that this instance's connection leads to. Nothing may be written to it afterwards.
    pub async fn seal(&self) -> Result<(), Error> {
        let lineage = self.redis.connection().await?.lineage.clone();
        let seal = format!("sealed:{}", chance::name());
        self.redis.write(&keys::seal(self.sql.installation()), &seal).await?;
        self.sql.replace_lineage(&lineage, &seal, self.clock.now_ms()).await.map(drop)
    }

    /// Takes a sealed state for what it was before. A seal that SQL does not know proves nothing and changes nothing.
    pub async fn unseal(&self) -> Result<(), Error> {
        let Some(seal) = self.redis.read(&keys::seal(self.sql.installation())).await? else {
            return Ok(());
        };
        let lineage = self.redis.connection().await?.lineage.clone();
        if self.sql.replace_lineage(&seal, &lineage, self.clock.now_ms()).await?
            && let Err(error) = self.refresh().await
        {
            // The seal is broken: from here on a start must not fail. The interval reads again.
            tracing::warn!(%error, "the queues could not be read again");
        }
        Ok(())
    }
}
