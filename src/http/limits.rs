//! Rate limits by person and by address, in memory, and the bulkheads that keep one kind of route from starving
//! another. They protect; they grant nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, Ready, ready};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::futures::TaskLocalFuture;
use tower::layer::layer_fn;
use tower::{Layer, Service};

use super::connection::Peer;
use crate::config::HttpConfig;
use crate::error::{Code, Error};
use crate::ids::UserId;

/// One person clicks and polls; a household or an office shares one address.
const USER_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("10 is not 0");
const USER_BURST: NonZeroU32 = NonZeroU32::new(30).expect("30 is not 0");
const ADDRESS_PER_SECOND: NonZeroU32 = NonZeroU32::new(200).expect("200 is not 0");
/// A person's windows and devices.
const STREAMS_OF_A_USER_MAX: usize = 4;
const ADDRESS_BURST: NonZeroU32 = NonZeroU32::new(600).expect("600 is not 0");

/// Limits of this instance; none in `open` mode unless they are switched on.
pub struct Limits {
    users: Option<DefaultKeyedRateLimiter<UserId>>,
    addresses: Option<DefaultKeyedRateLimiter<IpAddr>>,
    /// As IPv4 where they are, however a listener of both kinds writes them.
    trusted_proxies: Vec<IpAddr>,
    streams: Tally<UserId>,
    connections: Tally<IpAddr>,
}

/// How many of a kind each one has.
struct Tally<K>(Arc<Mutex<HashMap<K, usize>>>);

/// One of them, until it is dropped.
pub struct Counted<K: Copy + Eq + Hash> {
    of: K,
    tally: Tally<K>,
}

/// An event stream that a person has open.
pub type Stream = Counted<UserId>;

impl<K: Copy + Eq + Hash> Tally<K> {
    /// One more, unless he has so many already.
    fn one_more(&self, of: K, max: usize) -> Option<Counted<K>> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = tally.get(&of).copied().unwrap_or_default();
        if has >= max {
            return None;
        }
        tally.insert(of, has + 1);
        Some(Counted { of, tally: Self(self.0.clone()) })
    }
}

impl<K: Copy + Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut tally = self.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut has) = tally.entry(self.of) {
            *has.get_mut() -= 1;
            if *has.get() == 0 {
                has.remove();
            }
        }
    }
}

impl Limits {
    pub fn new(config: &HttpConfig) -> Self {
        let quota = |per_second, burst| Quota::per_second(per_second).allow_burst(burst);
        let users = || RateLimiter::keyed(quota(USER_PER_SECOND, USER_BURST));
        let addresses = || RateLimiter::keyed(quota(ADDRESS_PER_SECOND, ADDRESS_BURST));
        Self {
            users: config.rate_limits.then(users),
            addresses: config.rate_limits.then(addresses),
            trusted_proxies: config.trusted_proxies.iter().map(IpAddr::to_canonical).collect(),
            streams: Tally(Arc::default()),
            connections: Tally(Arc::default()),
        }
    }

    /// One more event stream of a person; he has so many open, and no more.
    pub fn stream_of(&self, user: UserId) -> Result<Stream, Error> {
        self.streams.one_more(user, STREAMS_OF_A_USER_MAX).ok_or_else(|| Error::Busy {
            code: Code::RateLimited,
            detail: format!("a person has at most {STREAMS_OF_A_USER_MAX} event streams open"),
            retry_after: Duration::from_secs(5),
        })
    }

    /// One more connection from an address, which has so many open and no more; for a proxy of ours they are everybody's.
    pub fn connection_from(&self, peer: SocketAddr, max: usize) -> Option<Counted<IpAddr>> {
        let address = peer.ip().to_canonical();
        let unlimited = self.addresses.is_none() || self.trusted_proxies.contains(&address);
        self.connections.one_more(address, if unlimited { usize::MAX } else { max })
    }

    pub fn check_user(&self, user: UserId) -> Result<(), Error> {
        let within = self.users.as_ref().is_none_or(|users| users.check_key(&user).is_ok());
        if within { Ok(()) } else { Err(too_many("this user")) }
    }

    fn check_address(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Error> {
        let Some(addresses) = &self.addresses else { return Ok(()) };
        let address = self.address(peer, headers);
        if addresses.check_key(&address).is_ok() { Ok(()) } else { Err(too_many("this address")) }
    }

    /// Forgets who has not come for a while: memory per visitor goes again.
    pub fn forget_idle(&self) {
        if let (Some(users), Some(addresses)) = (&self.users, &self.addresses) {
            users.retain_recent();
            addresses.retain_recent();
        }
    }

    /// The socket's address, unless it is a proxy of ours: then whom that proxy heard, and so on. Whatever stands before a
    /// hop that cannot be read may be anybody's invention, so the proxy that told of it is the nearest that is known.
    fn address(&self, peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let hops = forwarded.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        let mut hops = hops.rev().map(hop);
        let mut known = peer.ip().to_canonical();
        while self.trusted_proxies.contains(&known)
            && let Some(Some(before)) = hops.next()
        {
            known = before;
        }
        known
    }
}

/// One hop of a list: an address, with or without the port that it came from.
fn hop(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|socket: SocketAddr| socket.ip()));
    Some(address.ok()?.to_canonical())
}

fn too_many(who: &str) -> Error {
    Error::Busy {
        code: Code::RateLimited,
        detail: format!("too many requests from {who}"),
        retry_after: Duration::from_secs(1),
    }
}

/// Hears of each request that is refused unread.
pub type OnRefusal = Arc<dyn Fn() + Send + Sync>;

/// The gate before the routes of one kind, as a layer. `requests_max` of them are at work at once; more are refused at
/// once rather than queued, and so is an address that asks too often.
pub fn gate<S>(
    limits: Arc<Limits>,
    requests_max: usize,
    on_refusal: OnRefusal,
) -> impl Layer<S, Service = Gate<S>> + Clone {
    let room = Arc::new(Semaphore::new(requests_max));
    layer_fn(move |inner| {
        let (limits, room, on_refusal) = (limits.clone(), room.clone(), on_refusal.clone());
        Gate { inner, limits, room, on_refusal }
    })
}

/// Lets a request through to the routes behind it, or refuses it.
#[derive(Clone)]
pub struct Gate<S> {
    inner: S,
    limits: Arc<Limits>,
    room: Arc<Semaphore>,
    on_refusal: OnRefusal,
}

impl<S> Gate<S> {
    fn let_through(&self, request: &Request) -> Result<Room, Error> {
        if let Some(Peer(peer)) = request.extensions().get() {
            self.limits.check_address(*peer, request.headers())?;
        }
        self.room.clone().try_acquire_owned().map(Arc::new).map_err(|_| Error::Busy {
            code: Code::Overloaded,
            detail: "too many requests of this kind at once".to_owned(),
            retry_after: Duration::from_secs(1),
        })
    }
}

impl<S> Service<Request> for Gate<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, TaskLocalFuture<Room, S::Future>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.let_through(&request) {
            Ok(room) => Either::Right(ROOM.scope(room, self.inner.call(request))),
            Err(error) => {
                (self.on_refusal)();
                Either::Left(ready(Ok(error.into_response())))
            }
        }
    }
}

/// The room that a request takes while it is at work.
pub type Room = Arc<OwnedSemaphorePermit>;

tokio::task_local! {
    static ROOM: Room;
}

/// The room of the request that this task serves. Work that goes on without its client keeps it until it is done:
/// else people who hang up could pile up work without bound.
pub fn room() -> Option<Room> {
    ROOM.try_with(Arc::clone).ok()
}
