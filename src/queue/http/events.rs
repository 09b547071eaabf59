//! The line as a stream of server-sent events: the place now, and again whenever it has changed. A stream has no timer
//! and asks no machine while its number waits; the queue's announcements wake it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::HeaderName;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use utoipa::ToSchema;

use super::PlaceView;
use crate::app::App;
use crate::auth::QueueToken;
use crate::chance;
use crate::error::{Code, Error};
use crate::http::extract::TokenOrCookie;
use crate::http::limits::{self, Place as Room};
use crate::queue::policy::Mode;
use crate::queue::{Announcement, Heard, Line, Place, Reason, Status};

/// How long a client waits before it comes again when its stream broke; a crowd's are spread.
const RETRY_MS: f64 = 4_000.0;
const RETRY_SPREAD: f64 = 0.5;
/// Without it nginx would keep the events for itself until there are many.
const UNBUFFERED: [(HeaderName, &str); 1] = [(HeaderName::from_static("x-accel-buffering"), "no")];

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
    let line = app.queue.line(&token.queue).await?;
    let mut heard = app.queue.listen(&line);
    heard.mark_unchanged();
    let announcement = app.queue.announcement(&line).await;
    let place = app.queue.hear(&line, &announcement, token.place()).await?;
    let mut stream = Listener { app, line, token, heard, told: None, _room: limits::place() };
    let retry = Duration::from_millis(chance::at_most(RETRY_MS, RETRY_SPREAD) as u64);
    let first = stream.event(&place, &announcement).retry(retry);
    Ok((UNBUFFERED, Sse::new(stream.events(first))).into_response())
}

/// One who listens.
struct Listener {
    app: App,
    line: Arc<Line>,
    token: QueueToken,
    heard: Heard,
    told: Option<Told>,
    /// A stream takes room for as long as it lasts.
    _room: Option<Room>,
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
    fn events(self, first: Event) -> impl Stream<Item = Result<Event, Infallible>> {
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

    /// The next thing to say. `None` when the server stops.
    async fn next(&mut self) -> Option<Next> {
        loop {
            let stopping = self.app.stopping.clone();
            stopping.run_until_cancelled(self.heard.changed()).await?.ok()?;
            let announcement = self.heard.borrow_and_update().clone()?;
            if !self.concerns(&announcement) {
                continue;
            }
            match self.app.queue.hear(&self.line, &announcement, self.token.place()).await {
                Ok(place) if announcement.heartbeat && self.is_told(&place, &announcement) => {
                    return Some(Next::News(Event::default().comment("")));
                }
                Ok(place) if self.is_told(&place, &announcement) => {}
                Ok(place) => return Some(Next::News(self.event(&place, &announcement))),
                Err(error) if error.code() == Code::TurnEnded => {
                    let ended = format!(r#"{{"code":"{}"}}"#, error.code());
                    return Some(Next::End(Event::default().event("ended").data(ended)));
                }
                // What cannot be said now is said with the next announcement.
                Err(error) => tracing::debug!(%error, "a stream could not tell a place"),
            }
        }
    }

    /// Whoever has a turn is not moved by the line: his turn is looked at now and then, and when it should be over.
    fn concerns(&self, announcement: &Announcement) -> bool {
        let turn_until = self.told.as_ref().and_then(|told| told.expires_at);
        announcement.heartbeat
            || turn_until.is_none_or(|expires_at| self.app.clock.now_ms() >= expires_at)
    }

    fn is_told(&self, place: &Place, announcement: &Announcement) -> bool {
        self.told.as_ref() == Some(&Told::of(place, announcement))
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
