//! Queues and their policies.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "queue")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    pub epoch: i64,
    pub lineage: Option<String>,
    pub version: i64,
    pub changed_at: i64,
    pub manual_total: i64,
    pub rate_per_second: f64,
    pub burst: Option<f64>,
    pub active_max: i64,
    pub session_seconds: i64,
    pub claim_seconds: i64,
    pub hold_seconds: i64,
    pub seats_per_booking_max: i64,
    pub seats_per_user_max: Option<i64>,
    pub mode: String,
    pub message: String,
    pub ramp_from: Option<f64>,
    pub ramp_began_at: Option<i64>,
    pub ramp_ends_at: Option<i64>,
    pub draw_seed: Option<String>,
    pub draw_epoch: Option<i64>,
    pub draw_announced_at: Option<i64>,
    pub draw_opened_at: Option<i64>,
    pub draw_size: Option<i64>,
    pub epoch_at: i64,
    pub arrived: String,
    pub draw_lost: String,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
