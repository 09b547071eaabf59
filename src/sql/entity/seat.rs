//! The catalogue of seats.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "seat")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub concert_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub seat_id: String,
    pub ordinal: i64,
    pub tier: String,
    pub price: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
