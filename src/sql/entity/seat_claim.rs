//! Who has which seat; sold when `until` is null.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "seat_claim")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub concert_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seat_id: String,
    pub booking_id: i64,
    pub until: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
