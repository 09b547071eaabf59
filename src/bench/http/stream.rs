//! Server-sent events, as far as they are heard here: the data of one after the other.

use anyhow::Context;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

/// An open stream.
pub struct Events {
    body: Incoming,
    heard: Vec<u8>,
}

impl Events {
    pub(super) fn of(body: Incoming) -> Self {
        Self { body, heard: Vec::new() }
    }

    /// The data of the next event; comments and events without data are passed over. `None`: the server ended it.
    pub async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            while let Some(end) = self.heard.windows(2).position(|bytes| bytes == b"\n\n") {
                let event: Vec<u8> = self.heard.drain(..end + 2).collect();
                if let Some(data) = data(&event) {
                    let told = || format!("an event is not JSON: {data}");
                    return Ok(Some(serde_json::from_str(data).with_context(told)?));
                }
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Some(bytes) = frame.context("a stream broke")?.data_ref() {
                self.heard.extend_from_slice(bytes);
            }
        }
    }
}

/// Our events have one line of data.
fn data(event: &[u8]) -> Option<&str> {
    let event = std::str::from_utf8(event).ok()?;
    event.lines().find_map(|line| line.strip_prefix("data:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_data() {
        assert_eq!(data(b"event: place\ndata: {\"position\":1}\n\n"), Some("{\"position\":1}"));
        assert_eq!(data(b": keep-alive\n\n"), None);
    }
}
