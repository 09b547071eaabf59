//! Each trick on real servers, which `scripts/test` starts, and what the tests of both protocols share.

mod postgres;
mod redis;
mod splits;

use super::{Protocol, Proxy, Upstream};

const SEED: u64 = 20_261_125;

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run scripts/test, which starts the servers that the tests need")
    })
}

/// `scheme://user:password@ADDRESS/database`
fn address_in(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL has a scheme").1;
    let address = rest.split('/').next().unwrap();
    address.rsplit('@').next().unwrap()
}

async fn proxy(kind: Protocol, url: &str) -> Proxy {
    let upstream: Upstream = address_in(url).parse().unwrap();
    Proxy::start(kind, upstream, SEED).await.unwrap()
}
