//! The schema of Usher. The constraints are the design: whatever must never happen is refused here, by name.
//!
//! Plain SQL, because the partial indexes and triggers are the point and both databases spell them almost alike.
//! A migration is never edited once merged; the next one is a new file.

mod m0001_box_office;
mod m0002_schedule;
mod m0003_draw;
mod m0004_rebuild;

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::*;

/// Every migration, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_box_office::Migration),
            Box::new(m0002_schedule::Migration),
            Box::new(m0003_draw::Migration),
            Box::new(m0004_rebuild::Migration),
        ]
    }
}
