//! How tests hear server-sent events: one stream, read event by event.

use std::time::Duration;

use serde_json::Value;

/// Nothing that is due takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of events that somebody listens to.
pub struct Listener {
    response: reqwest::Response,
    heard: String,
}

impl Listener {
    pub fn to(response: reqwest::Response) -> Listener {
        Listener { response, heard: String::new() }
    }

    pub fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The next event with its data; comments are passed over. `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("no event in time")
    }

    /// The next place that is told.
    pub async fn place(&mut self) -> Value {
        self.told("place").await
    }

    /// What operators are told next.
    pub async fn figures(&mut self) -> Value {
        self.told("figures").await
    }

    async fn told(&mut self, wanted: &str) -> Value {
        match self.next().await {
            Some((event, data)) if event == wanted => data,
            other => panic!("not `{wanted}`: {other:?}"),
        }
    }

    /// What is told until it is this.
    pub async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let place = self.place().await;
            if is_it(&place) {
                return place;
            }
        }
    }

    /// What operators are told until it is this.
    pub async fn figures_until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let figures = self.figures().await;
            if is_it(&figures) {
                return figures;
            }
        }
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.heard.split_once("\n\n") {
                let event = parsed(block);
                self.heard = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.heard.push_str(std::str::from_utf8(&chunk).expect("events are text"));
        }
    }
}

/// `event: NAME` and `data: JSON`; nothing for a comment.
fn parsed(block: &str) -> Option<(String, Value)> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let data = serde_json::from_str(field("data: ")?).expect("data is JSON");
    Some((field("event: ")?.to_owned(), data))
}
