//! The tricks played on PostgreSQL, through the client that Usher has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement,
    TransactionTrait,
};

use super::super::{Aim, Direction, Often, Protocol, Proxy, Trick};
use super::{address_in, setting};

/// A proxy, whoever asks through it and whoever does not; `table` is nobody else's.
struct Scene {
    proxy: Proxy,
    through: DatabaseConnection,
    direct: DatabaseConnection,
    table: String,
}

impl Scene {
    async fn set(table: &str) -> Self {
        let url = setting("USHER_TEST_POSTGRES_URL");
        let proxy = super::proxy(Protocol::Postgres, &url).await;
        let direct = connect(&url).await.unwrap();
        let table = format!("proxy_{table}");
        for statement in [
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} (n BIGINT UNIQUE DEFERRABLE INITIALLY DEFERRED, t TEXT)"),
        ] {
            direct.execute_unprepared(&statement).await.unwrap();
        }
        let url = url.replace(address_in(&url), &proxy.address().to_string());
        Self { proxy, through: connect(&url).await.unwrap(), direct, table }
    }

    fn statement(&self, text: &str, n: i64) -> Statement {
        let text = text.replace("TABLE", &self.table);
        Statement::from_sql_and_values(DbBackend::Postgres, text, [n.into()])
    }

    /// One row, in a transaction.
    async fn insert(&self, n: i64) -> Result<(), DbErr> {
        let transaction = self.through.begin().await?;
        transaction.execute_raw(self.statement("INSERT INTO TABLE (n) VALUES ($1)", n)).await?;
        transaction.commit().await
    }

    /// How many rows there are, as someone sees it whom no trick reaches.
    async fn rows(&self) -> i64 {
        count(&self.direct, self.statement("SELECT count(*) FROM TABLE WHERE n < $1", 100)).await
    }

    fn played(&self, what: &[(&'static str, u64)]) {
        assert_eq!(self.proxy.played(), BTreeMap::from_iter(what.iter().copied()));
    }
}

async fn connect(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_secs(2));
    options.idle_timeout(None).max_lifetime(None);
    Database::connect(options).await
}

async fn count(sql: &DatabaseConnection, statement: Statement) -> i64 {
    sql.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Whether nothing came for as long as anybody would take to answer.
async fn is_stuck<T>(answer: &mut (impl Future<Output = T> + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(200), answer).await.is_err()
}

#[tokio::test]
async fn postgres_is_itself_behind_a_proxy_that_plays_nothing() {
    let scene = Scene::set("nothing").await;
    for n in 0..50 {
        scene.insert(n).await.unwrap();
    }
    let transaction = scene.through.begin().await.unwrap();
    transaction.execute_raw(scene.statement("DELETE FROM TABLE WHERE n = $1", 7)).await.unwrap();
    transaction.rollback().await.unwrap();

    let megabyte = "x".repeat(1 << 20);
    let write = format!("UPDATE {} SET t = $1 WHERE n = 3 RETURNING t", scene.table);
    let write =
        Statement::from_sql_and_values(DbBackend::Postgres, write, [megabyte.as_str().into()]);
    let row = scene.through.query_one_raw(write).await.unwrap().unwrap();
    assert!(row.try_get::<String>("", "t").unwrap() == megabyte);

    let several = format!("DELETE FROM {0} WHERE n = 8; DELETE FROM {0} WHERE n = 9", scene.table);
    scene.through.execute_unprepared(&several).await.unwrap();
    scene.through.execute_unprepared("SELECT nonsense").await.unwrap_err();
    assert_eq!(scene.rows().await, 48);
    scene.played(&[]);
}

#[tokio::test]
async fn a_cut_after_commit_hides_what_was_done() {
    let scene = Scene::set("after_commit").await;
    scene.proxy.play(Trick::CutAfterCommit(Often::Next(1)));
    scene.insert(1).await.unwrap_err();
    assert_eq!(scene.rows().await, 1);
    scene.insert(2).await.unwrap();
    scene.played(&[("cut_after_commit", 1)]);
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_told() {
    let scene = Scene::set("refused_commit").await;
    scene.insert(1).await.unwrap();
    scene.proxy.play(Trick::CutAfterCommit(Often::Next(1)));
    let refused = scene.insert(1).await.unwrap_err();
    assert!(matches!(refused.sql_err(), Some(sea_orm::SqlErr::UniqueConstraintViolation(_))));
    assert_eq!(scene.rows().await, 1);
    scene.played(&[]);
}

#[tokio::test]
async fn a_cut_before_commit_leaves_nothing() {
    let scene = Scene::set("before_commit").await;
    scene.proxy.play(Trick::CutBeforeCommit(Often::Next(1)));
    scene.insert(1).await.unwrap_err();
    scene.insert(2).await.unwrap();
    assert_eq!(scene.rows().await, 1);
    scene.played(&[("cut_before_commit", 1)]);
}

/// A statement that was prepared is seen as well as one that was not.
#[tokio::test]
async fn a_commit_is_known_in_the_extended_protocol() {
    let scene = Scene::set("extended").await;
    scene.proxy.play(Trick::CutBeforeCommit(Often::Next(1)));
    let prepared = Statement::from_sql_and_values(DbBackend::Postgres, " commit work", []);
    scene.through.execute_raw(prepared).await.unwrap_err();
    scene.played(&[("cut_before_commit", 1)]);
}

#[tokio::test]
async fn a_reply_is_dropped_or_late() {
    let scene = Scene::set("reply").await;
    scene.proxy.play(Trick::DropReply(Aim::at("insert", Often::Next(1))));
    scene.insert(1).await.unwrap_err();
    assert_eq!(scene.rows().await, 0, "the transaction ended with its connection");
    let began = Instant::now();
    scene.proxy.play(Trick::Delay(100, Aim::at("commit", Often::Next(1))));
    scene.insert(2).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    scene.played(&[("delay", 1), ("drop_reply", 1)]);
}

#[tokio::test]
async fn a_cut_anywhere_is_an_error_and_nothing_worse() {
    let scene = Scene::set("anywhere").await;
    // In a transaction: a pool replaces a connection that is idle without a word.
    let transaction = scene.through.begin().await.unwrap();
    scene.proxy.play(Trick::CutAnywhere(Often::Next(1)));
    let insert = scene.statement("INSERT INTO TABLE (n) VALUES ($1)", 1);
    transaction.execute_raw(insert).await.unwrap_err();
    drop(transaction);
    assert_eq!(scene.rows().await, 0);
    scene.insert(2).await.unwrap();
    scene.played(&[("cut_anywhere", 1)]);
}

#[tokio::test]
async fn a_stalled_commit_happens_before_or_after_the_heal() {
    for (direction, done) in [(Direction::ToServer, 0), (Direction::ToClient, 1)] {
        let scene = Scene::set(&format!("{direction:?}")).await;
        let transaction = scene.through.begin().await.unwrap();
        let insert = scene.statement("INSERT INTO TABLE (n) VALUES ($1)", 1);
        transaction.execute_raw(insert).await.unwrap();
        scene.proxy.play(Trick::Stall(direction));
        let mut commit = Box::pin(transaction.commit());
        assert!(is_stuck(&mut commit).await);
        assert_eq!(scene.rows().await, done, "{direction:?}");
        scene.proxy.heal();
        commit.await.unwrap();
        assert_eq!(scene.rows().await, 1);
    }
}

#[tokio::test]
async fn nobody_gets_in_while_it_refuses_or_is_a_black_hole() {
    let scene = Scene::set("black_hole").await;
    let url = setting("USHER_TEST_POSTGRES_URL");
    let url = url.replace(address_in(&url), &scene.proxy.address().to_string());
    scene.proxy.play(Trick::Refuse);
    assert!(connect(&url).await.is_err());
    scene.proxy.heal();
    scene.proxy.play(Trick::BlackHole);
    let mut connected = Box::pin(connect(&url));
    assert!(is_stuck(&mut connected).await);
    scene.proxy.heal();
    connected.await.unwrap();
    scene.proxy.play(Trick::Cut);
    scene.insert(1).await.unwrap();
    let played = scene.proxy.played();
    assert!(played["refuse"] > 0 && played["black_hole"] == 1 && played["cut"] == 2, "{played:?}");
}
