//! A queue whose state in Redis is made anew.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(COLUMNS).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let all = "ALTER TABLE queue DROP COLUMN draw_lost; ALTER TABLE queue DROP COLUMN arrived; ALTER TABLE queue DROP COLUMN epoch_at;";
        manager.get_connection().execute_unprepared(all).await?;
        Ok(())
    }
}

const COLUMNS: &str = r"
-- When the epoch began. Whoever began it is left alone for a while: it is a lease.
ALTER TABLE queue ADD COLUMN epoch_at BIGINT NOT NULL DEFAULT 0;
-- How many had arrived in each of the latest epochs that are over, newest first, as far as anybody knew: `17,523`.
ALTER TABLE queue ADD COLUMN arrived TEXT NOT NULL DEFAULT '';
-- How many were drawn in each epoch that was lost while the draw was on, as far as anybody knew: `500,20`.
ALTER TABLE queue ADD COLUMN draw_lost TEXT NOT NULL DEFAULT '';
";
