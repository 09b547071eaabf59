//! The bare answer: `axum::serve` with one route and nothing around it, a process of its own. It is what HTTP costs with
//! these libraries before anybody has added a thing. Nothing of Usher may live here.

use std::io::Write;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves on a free port, which it tells, until the process is ended.
pub async fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "bare answer http://{}", listener.local_addr()?)?;
    let routes = Router::new().route("/", get(async || "ok"));
    Ok(axum::serve(listener, routes).await?)
}
