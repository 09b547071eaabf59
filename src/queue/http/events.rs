//! The line as a stream of server-sent events: the place now, and again whenever it has changed. A stream has no timer
//! and asks no machine while its number waits; the queue's announcements wake it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{self, HeaderName};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::PlaceView;
use crate::app::App;
use crate::auth::QueueToken;
use crate::chance;
use crate::error::{Code, Error};
use crate::http::extract::TokenOrCookie;
use crate::http::limits::{self, Room, Stream};
use crate::queue::policy::Mode;
use crate::queue::{Announcement, Heard, LOOK_EVERY, Line, Place, Reason, SILENCE_MS_MAX, Status};

/// How long a client waits before it comes again when its stream broke; a crowd's are spread.
const RETRY_MS: f64 = 4_000.0;
const RETRY_SPREAD: f64 = 0.5;
/// A place is its owner's alone, and nginx would keep the events for itself until there are many.
const HEADERS: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (HeaderName::from_static("x-accel-buffering"), "no")];

/// The data of an event `place`.
#[derive(Serialize, ToSchema)]
pub struct PlaceEvent {
    #[serde(flatten)]
    #[schema(inline)]
    pub place: PlaceView,
    pub mode: Mode,
    /// What the operators say to everybody who waits.
    pub message: String,
}

/// My place as server-sent events.
///
/// `event: place` carries the same fields as `GET /queue`, and the queue's mode and message: at once, and again within a
/// second whenever something has changed. A turn is announced, not claimed: `GET /queue` or the first booking claims it.
/// `event: ended` says that the turn is over, with the code that other requests get; it is the last. A stream that
/// breaks is taken up again by asking again: an event says everything.
#[utoipa::path(get, path = "/queue/events", operation_id = "listen_to_place", tag = "queue", security(("queue_token" = [])),
    responses((status = 200, description = "Events `place` and `ended`", body = PlaceEvent, content_type = "text/event-stream")))]
pub async fn events(
    State(app): State<App>,
    TokenOrCookie(token): TokenOrCookie,
) -> Result<Response, Error> {
    let stream = app.limits.stream_of(token.user)?;
    let line = app.queue.line(&token.queue).await?;
    let heard = app.queue.listen(&line);
    let announcement = app.queue.announcement(&line).await;
    let place = app.queue.hear(&line, &announcement, token.place()).await?;
    let mut listener = Listener {
        looked_at: app.clock.now_ms(),
        spoken_at: app.clock.now_ms(),
        app,
        line,
        token,
        heard,
        told: None,
        expects_more: false,
        _taken: (limits::room(), stream),
    };
    let retry = Duration::from_millis(chance::at_most(RETRY_MS, RETRY_SPREAD) as u64);
    listener.note(&place, &announcement);
    let first = listener.event(&place, &announcement).retry(retry);
    Ok((HEADERS, Sse::new(listener.events(first))).into_response())
}

/// One who listens.
struct Listener {
    app: App,
    line: Arc<Line>,
    token: QueueToken,
    heard: Heard,
    told: Option<Told>,
    /// His number is on its way to a turn, or could not be looked at: he does not wait for the next announcement.
    expects_more: bool,
    looked_at: i64,
    spoken_at: i64,
    /// A stream takes room for as long as it lasts.
    _taken: (Option<Room>, Stream),
}

/// What was said last, as far as a change of it is news.
#[derive(PartialEq, Eq)]
struct Told {
    position: Option<i64>,
    reason: Option<Reason>,
    expires_at: Option<i64>,
    common: Arc<str>,
}

impl Listener {
    fn events(self, first: Event) -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
        unfold((Some(self), Some(first)), async |(listener, first)| {
            let mut listener = listener?;
            match first {
                Some(event) => Some((Ok(event), (Some(listener), None))),
                None => match listener.next().await? {
                    Next::News(event) => Some((Ok(event), (Some(listener), None))),
                    Next::End(event) => Some((Ok(event), (None, None))),
                },
            }
        })
    }

    /// The next thing to say. `None` when the server stops, or the token is good no longer.
    async fn next(&mut self) -> Option<Next> {
        loop {
            let announcement = self.announced().await?;
            let now = self.app.clock.now_ms();
            if now >= self.token.expires_at {
                return None;
            }
            let next = if self.concerns(&announcement, now) {
                self.look(&announcement, now).await
            } else {
                None
            };
            if next.is_some() {
                self.spoken_at = now;
                return next;
            }
            if now - self.spoken_at >= SILENCE_MS_MAX {
                self.spoken_at = now;
                return Some(Next::News(Event::default().comment("")));
            }
        }
    }

    /// The next announcement, or the last one again when there is more to come of it.
    async fn announced(&mut self) -> Option<Arc<Announcement>> {
        let stopping = self.app.stopping.clone();
        let changed = self.heard.changed();
        if self.expects_more {
            let looked = stopping.run_until_cancelled(timeout(LOOK_EVERY, changed)).await?;
            looked.unwrap_or(Ok(())).ok()?;
        } else {
            stopping.run_until_cancelled(changed).await?.ok()?;
        }
        let announcement = self.heard.borrow_and_update().clone();
        // Nothing was announced yet to whoever came a moment ago.
        match announcement {
            Some(announcement) => Some(announcement),
            None => Some(Arc::new(self.app.queue.announcement(&self.line).await)),
        }
    }

    /// Whoever has a turn is not moved by the line: he hears what is said to everybody, and his turn is looked at now
    /// and then, and when it should be over.
    fn concerns(&self, announcement: &Announcement, now: i64) -> bool {
        let Some(Told { expires_at: Some(expires_at), common, .. }) = &self.told else {
            return true;
        };
        self.expects_more
            || *common != announcement.common
            || now >= *expires_at
            || now - self.looked_at >= SILENCE_MS_MAX
    }

    async fn look(&mut self, announcement: &Announcement, now: i64) -> Option<Next> {
        self.looked_at = now;
        match self.app.queue.hear(&self.line, announcement, self.token.place()).await {
            Ok(place) => {
                self.note(&place, announcement);
                let is_told = self.told.as_ref() == Some(&Told::of(&place, announcement));
                (!is_told).then(|| Next::News(self.event(&place, announcement)))
            }
            Err(error) if error.code() == Code::TurnEnded => {
                let ended = format!(r#"{{"code":"{}"}}"#, error.code());
                Some(Next::End(Event::default().event("ended").data(ended)))
            }
            Err(error) => {
                tracing::debug!(%error, "a stream could not tell a place");
                self.expects_more = true;
                None
            }
        }
    }

    fn note(&mut self, place: &Place, announcement: &Announcement) {
        let waits = matches!(place.status, Status::Waiting { .. });
        self.expects_more = waits && announcement.is_past(place.number);
        self.token.confirmed = place.confirmed;
    }

    fn event(&mut self, place: &Place, announcement: &Announcement) -> Event {
        self.told = Some(Told::of(place, announcement));
        let view = PlaceView::new(place, None);
        let mut data = serde_json::to_string(&view).unwrap_or_default();
        // The common fields were written once, for everybody.
        data.pop();
        data.push(',');
        data.push_str(&announcement.common);
        data.push('}');
        Event::default().event("place").data(data)
    }
}

enum Next {
    News(Event),
    End(Event),
}

impl Told {
    fn of(place: &Place, announcement: &Announcement) -> Self {
        let (position, expires_at) = match place.status {
            Status::Waiting { position, .. } => (position, None),
            Status::Active { expires_at, .. } => (None, Some(expires_at)),
        };
        let common = announcement.common.clone();
        Self { position, reason: place.reason, expires_at, common }
    }
}
