//! The stage for every story: a real server, real stores, and people who speak HTTP.
//!
//! A story is an `async fn` about people. It never sleeps, never retries and never looks into a store: time is
//! a manual clock, background work is called (`app.pass(60)`, `app.app.housekeep()`), and when the story ends the
//! harness audits what it left behind (`app.rs`, `finish`).

mod answer;
mod app;
mod counter;
mod document;
mod identity;
mod listener;
mod people;
mod servers;
mod shop;
mod wire;

pub use answer::{Answer, Http, kinds};
pub use app::{PRICE, TestApp};
pub use counter::Counter;
pub use document::{DOCUMENT, objection};
pub use identity::{ED25519_PUBLIC, Idp, JwtApp, forge, number_of};
pub use listener::Listener;
pub use people::{Buyer, Operator};
pub use servers::{Database, PrivateRedis, connect};
pub use shop::{ADMIN_KEY, Shop, serve, signal};
pub use wire::Wire;

pub use futures_util::future::join_all;
pub use serde_json::{Value, json};

/// What a story is told on. It is set up before the story and audited after it.
pub trait Stage: Sized {
    async fn begin(on: Database) -> Self;
    async fn finish(self);
}

/// For stories that set up their own stage: they are told only which database they are on.
impl Stage for Database {
    async fn begin(on: Database) -> Self {
        on
    }

    async fn finish(self) {}
}

pub async fn play<S: Stage>(on: Database, story: impl AsyncFn(&S)) {
    let stage = S::begin(on).await;
    story(&stage).await;
    stage.finish().await;
}

/// Each story becomes two tests: `<story>::sqlite` and `<story>::postgres`.
macro_rules! stories {
    ($($(#[$about:meta])* async fn $name:ident($app:ident: &$stage:ty) $plot:block)*) => { $(
        $(#[$about])*
        mod $name {
            use super::*;

            async fn story($app: &$stage) $plot

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $crate::harness::play::<$stage>($crate::harness::Database::Sqlite, story).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::harness::play::<$stage>($crate::harness::Database::Postgres, story).await;
            }
        }
    )* };
}

/// Stories that only PostgreSQL can tell: several instances, a database that goes away.
macro_rules! stories_on_postgres {
    ($($(#[$about:meta])* async fn $name:ident($app:ident: &$stage:ty) $plot:block)*) => { $(
        $(#[$about])*
        mod $name {
            use super::*;

            async fn story($app: &$stage) $plot

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::harness::play::<$stage>($crate::harness::Database::Postgres, story).await;
            }
        }
    )* };
}

pub(crate) use {stories, stories_on_postgres};
