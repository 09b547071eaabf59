//! Sends one request to the operators' listener and turns what comes back into an answer or one
//! clear sentence.
//!
//! May not live here: what a command means, and retries: an operator decides whether to ask again. Another instance is
//! asked only for what can be asked twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;

use super::args::{Key, Reach};
use super::request::Request;
use super::show;

/// Above the server's own deadline of 30 s, so that its answer is heard.
pub const DEADLINE: Duration = Duration::from_secs(35);

pub struct Api {
    urls: Vec<Url>,
    /// Which of them answered last: the next request begins there.
    there: AtomicUsize,
    key: Key,
    client: Client,
    deadline: Duration,
}

/// A success.
#[derive(Debug)]
pub struct Answer {
    /// Which of the instances gave it.
    pub from: usize,
    pub etag: Option<String>,
    /// As it came, so that `--json` changes nothing.
    pub body: String,
}

impl Api {
    pub fn new(reach: &Reach, deadline: Duration) -> anyhow::Result<Self> {
        // The key goes to the address that was named and nowhere else: neither through a proxy nor
        // after a redirect.
        let client =
            Client::builder().no_proxy().redirect(Policy::none()).timeout(deadline).build()?;
        let there = AtomicUsize::new(0);
        Ok(Self { urls: reach.urls.clone(), there, key: key(reach)?, client, deadline })
    }

    /// To the first instance; to the next one where nobody is there, or where nothing came back and asking twice does
    /// no more than asking once.
    pub async fn send(&self, request: &Request) -> anyhow::Result<Answer> {
        let mut unheard = anyhow!("no --url is given");
        let first = self.there.load(Ordering::Relaxed);
        for (index, url) in self.urls.iter().enumerate().cycle().skip(first).take(self.urls.len()) {
            let error = match self.exchange(url, request).await {
                Ok(heard) => {
                    self.there.store(index, Ordering::Relaxed);
                    return answer(index, heard);
                }
                Err(error) => error,
            };
            unheard = self.unheard(url, request, &error);
            if !error.is_connect() && !request.can_be_repeated() {
                break;
            }
        }
        Err(unheard)
    }

    async fn exchange(
        &self,
        url: &Url,
        request: &Request,
    ) -> reqwest::Result<(StatusCode, HeaderMap, String)> {
        let mut call = self
            .client
            .request(request.method.clone(), address(url, request))
            .bearer_auth(&self.key.0);
        if let Some(body) = &request.body {
            call = call.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(etag) = &request.if_match {
            call = call.header(IF_MATCH, etag);
        }
        if let Some(key) = &request.idempotency_key {
            call = call.header("Idempotency-Key", key);
        }
        let response = call.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, response.text().await?))
    }

    /// No answer arrived: why, which flag to look at, and whether the change may have been made
    /// all the same.
    fn unheard(&self, url: &Url, request: &Request, error: &reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            let cause = root(error);
            return anyhow!(
                "cannot reach {url} ({cause}): start usher there, or say with --url where it is"
            );
        }
        let doubt = match request.method {
            Method::GET => "",
            _ => "; whether the change was made is not known, so look before sending it again",
        };
        let cause = if error.is_timeout() {
            format!("nothing within {} s", self.deadline.as_secs())
        } else {
            root(error)
        };
        anyhow!(
            "no answer from {url} ({cause}): see whether --url is the operators' listener{doubt}"
        )
    }
}

fn address(base: &Url, request: &Request) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), request.path));
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    url
}

fn answer(
    from: usize,
    (status, headers, body): (StatusCode, HeaderMap, String),
) -> anyhow::Result<Answer> {
    if !status.is_success() {
        return Err(refusal(status, &headers, &body));
    }
    let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    Ok(Answer { from, etag, body })
}

fn key(reach: &Reach) -> anyhow::Result<Key> {
    let key = match &reach.key {
        Some(Key(key)) if !key.is_empty() => key.clone(),
        _ => {
            let file = reach.data_dir.join("admin.key");
            std::fs::read_to_string(&file).with_context(|| {
                format!(
                    "no operators' key: set USHER_ADMIN_KEY, or --data-dir to the server's ({})",
                    file.display()
                )
            })?
        }
    };
    let key = key.trim();
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("the operators' key is empty or has characters that no key has");
    }
    Ok(Key(key.to_owned()))
}

/// `code: detail`, in one line, with the fields that the server names.
fn refusal(status: StatusCode, headers: &HeaderMap, body: &str) -> anyhow::Error {
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let (Some(code), Some(detail)) = (problem["code"].as_str(), problem["detail"].as_str()) else {
        return anyhow!(
            "http_{}: not an answer of Usher's; is --url the operators' listener?",
            status.as_u16()
        );
    };
    let mut line = format!("{code}: {detail}");
    for error in problem["errors"].as_array().into_iter().flatten() {
        let (pointer, reason) = (error["pointer"].as_str(), error["reason"].as_str());
        line.push_str(&format!("; {} {}", pointer.unwrap_or_default(), reason.unwrap_or_default()));
    }
    if let Some(seconds) = headers.get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()) {
        line.push_str(&format!("; try again in {seconds} s"));
    }
    anyhow!(show::plain(&line))
}

/// The innermost cause: `Connection refused` says more than the layers around it.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::refusal;

    fn line(status: StatusCode, headers: &HeaderMap, body: &str) -> String {
        refusal(status, headers, body).to_string()
    }

    #[test]
    fn a_problem_is_one_line() {
        let body = r#"{"code":"invalid_field","detail":"a field\nis wrong",
                       "errors":[{"pointer":"/rate_per_second","reason":"at most 20000"}]}"#;
        assert_eq!(
            line(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body),
            "invalid_field: a field\u{fffd}is wrong; /rate_per_second at most 20000"
        );
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("2"))]);
        let body = r#"{"code":"unavailable","detail":"Redis does not answer"}"#;
        let expected = "unavailable: Redis does not answer; try again in 2 s";
        assert_eq!(line(StatusCode::SERVICE_UNAVAILABLE, &headers, body), expected);
    }

    #[test]
    fn somebody_elses_page_is_not_taken_for_a_problem() {
        let found = line(StatusCode::BAD_GATEWAY, &HeaderMap::new(), "<html>");
        assert!(found.starts_with("http_502: "), "{found}");
        assert!(found.contains("--url"), "{found}");
    }
}
