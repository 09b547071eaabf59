//! Bookings, from hold to payment.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "booking")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub queue_id: i64,
    pub turn_seq: i64,
    pub user_id: i64,
    pub concert_id: i64,
    pub seats: String,
    pub seat_count: i64,
    pub amount: i64,
    pub status: String,
    pub made_at: i64,
    pub expires_at: i64,
    pub paid_at: Option<i64>,
    pub idem_key: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
