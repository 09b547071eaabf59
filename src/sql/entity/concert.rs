//! Concerts.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "concert")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub queue_id: i64,
    pub title: String,
    pub place: String,
    pub starts_at: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
