//! The draw with which a queue may open.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let trigger = match manager.get_database_backend() {
            DbBackend::Sqlite => SQLITE_TRIGGER,
            _ => POSTGRES_TRIGGER,
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(COLUMNS).await?;
        connection.execute_unprepared(trigger).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let trigger = match manager.get_database_backend() {
            DbBackend::Sqlite => "DROP TRIGGER a_seed_is_never_replaced;",
            _ => "DROP TRIGGER a_seed_is_never_replaced ON queue;",
        };
        let connection = manager.get_connection();
        connection.execute_unprepared(trigger).await?;
        let all = "ALTER TABLE queue DROP COLUMN draw_size; ALTER TABLE queue DROP COLUMN draw_opened_at; \
            ALTER TABLE queue DROP COLUMN draw_announced_at; ALTER TABLE queue DROP COLUMN draw_epoch; \
            ALTER TABLE queue DROP COLUMN draw_seed;";
        connection.execute_unprepared(all).await?;
        Ok(())
    }
}

const COLUMNS: &str = r"
-- `draw_seed` is secret until `draw_opened_at`; 64 hex digits. `draw_size` is how many were drawn.
ALTER TABLE queue ADD COLUMN draw_seed TEXT NULL CONSTRAINT a_seed_has_32_bytes CHECK (length(draw_seed) = 64);
ALTER TABLE queue ADD COLUMN draw_epoch BIGINT NULL;
ALTER TABLE queue ADD COLUMN draw_announced_at BIGINT NULL CONSTRAINT a_draw_is_whole CHECK (
    (draw_seed IS NULL) = (draw_epoch IS NULL) AND (draw_seed IS NULL) = (draw_announced_at IS NULL)
);
ALTER TABLE queue ADD COLUMN draw_opened_at BIGINT NULL CONSTRAINT a_draw_is_announced_before_it_opens CHECK (
    draw_opened_at IS NULL OR draw_seed IS NOT NULL
);
ALTER TABLE queue ADD COLUMN draw_size BIGINT NULL CONSTRAINT a_draw_has_its_size_from_its_opening CHECK (
    draw_size IS NULL OR (draw_opened_at IS NOT NULL AND draw_size >= 0)
);
";

const SQLITE_TRIGGER: &str = r"
CREATE TRIGGER a_seed_is_never_replaced BEFORE UPDATE ON queue WHEN OLD.draw_seed <> NEW.draw_seed
    BEGIN SELECT RAISE(ABORT, 'a_seed_is_never_replaced'); END;
";

const POSTGRES_TRIGGER: &str = r"
CREATE TRIGGER a_seed_is_never_replaced BEFORE UPDATE ON queue FOR EACH ROW WHEN (OLD.draw_seed <> NEW.draw_seed)
    EXECUTE FUNCTION refuse_change('a_seed_is_never_replaced');
";
