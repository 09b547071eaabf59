//! The two kinds of people: a buyer, who knows the public API, and an operator, who tunes it.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::answer::Request;
use super::{Answer, Http, Listener, TestApp};

/// A person with a user id and, once joined, the one token of the visit.
pub struct Buyer {
    pub user_id: i64,
    http: Http,
    token: Mutex<Option<String>>,
    bearer: Option<String>,
}

impl Buyer {
    pub fn new(user_id: i64, http: Http, bearer: Option<String>) -> Buyer {
        Buyer { user_id, http, token: Mutex::default(), bearer }
    }

    /// The same person with the same token, at another server.
    pub fn at(&self, other: &TestApp) -> Buyer {
        let token = Mutex::new(self.token.lock().unwrap().clone());
        let bearer = self.bearer.clone();
        Buyer { user_id: self.user_id, http: other.public.clone(), token, bearer }
    }

    pub fn token(&self) -> String {
        self.token.lock().unwrap().clone().expect("this buyer has joined")
    }

    /// Puts another token into this buyer's hands.
    pub fn takes(&self, token: impl Into<String>) {
        *self.token.lock().unwrap() = Some(token.into());
    }

    /// A request with all that this buyer has to show.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let request = self.request_without_token(method, path);
        match self.token.lock().unwrap().as_deref() {
            Some(token) => request.header("token-auth", token),
            None => request,
        }
    }

    fn request_without_token(&self, method: &str, path: &str) -> Request {
        let request = self.http.request(method, path);
        match &self.bearer {
            Some(bearer) => request.bearer(bearer),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub async fn join(&self) -> Answer {
        self.join_at(&format!("/token/{}", self.user_id)).await
    }

    pub async fn join_queue(&self, queue: &str) -> Answer {
        self.join_at(&format!("/token/{}?queue={queue}", self.user_id)).await
    }

    /// A join shows no earlier token: it is what somebody does who has none, or has lost it.
    async fn join_at(&self, path: &str) -> Answer {
        let answer = self.request_without_token("GET", path).send().await;
        if answer.status == 200 {
            self.takes(answer.json()["token_id"].as_str().expect("token_id is a string"));
        }
        answer
    }

    pub async fn poll(&self) -> Answer {
        self.get("/queue").await
    }

    /// Listens to the place as a stream of events.
    pub async fn listen(&self) -> Listener {
        self.request("GET", "/queue/events").listen().await
    }

    pub async fn leave(&self) -> Answer {
        self.request("DELETE", "/queue").send().await
    }

    pub async fn hold<const N: usize>(&self, concert_id: i64, seats: [&str; N]) -> Answer {
        self.hold_list(concert_id, &seats.join(",")).await
    }

    pub async fn hold_list(&self, concert_id: i64, seat_no: &str) -> Answer {
        self.wish(concert_id, seat_no).send().await
    }

    pub async fn hold_with_key(&self, concert_id: i64, seat_no: &str, key: &str) -> Answer {
        self.wish(concert_id, seat_no).header("idempotency-key", key).send().await
    }

    fn wish(&self, concert_id: i64, seat_no: &str) -> Request {
        let body = json!({"user_id": self.user_id, "concert_id": concert_id, "seat_no": seat_no});
        self.request("POST", "/booking").json(&body)
    }

    pub async fn booking(&self, booking_id: i64) -> Answer {
        self.get(&format!("/booking/{booking_id}")).await
    }

    pub async fn cancel(&self, booking_id: i64) -> Answer {
        self.request("DELETE", &format!("/booking/{booking_id}")).send().await
    }

    pub async fn bookings(&self) -> Vec<Value> {
        let answer = self.get(&format!("/users/{}/bookings", self.user_id)).await.ok();
        answer["bookings"].as_array().unwrap().clone()
    }

    /// The status of one of this buyer's bookings, as the list tells it.
    pub async fn status_of(&self, booking_id: i64) -> String {
        let bookings = self.bookings().await;
        let found = bookings.iter().find(|booking| booking["booking_id"] == booking_id);
        found.expect("the booking is listed")["status"].as_str().unwrap().to_owned()
    }

    pub async fn pay(&self, booking_id: i64) -> Answer {
        self.payment(booking_id).send().await
    }

    pub async fn pay_with_key(&self, booking_id: i64, key: &str) -> Answer {
        self.payment(booking_id).header("idempotency-key", key).send().await
    }

    fn payment(&self, booking_id: i64) -> Request {
        let body = json!({"user_id": self.user_id, "booking_id": booking_id});
        self.request("POST", "/payment").json(&body)
    }

    pub async fn top_up(&self, amount: i64) -> Answer {
        self.charge(amount).send().await
    }

    pub async fn top_up_with_key(&self, amount: i64, key: &str) -> Answer {
        self.charge(amount).header("idempotency-key", key).send().await
    }

    fn charge(&self, amount: i64) -> Request {
        let body = json!({"user_id": self.user_id, "balance": amount});
        self.request("POST", "/balance").json(&body)
    }

    pub async fn balance(&self) -> i64 {
        let answer = self.get(&format!("/balance/{}", self.user_id)).await.ok();
        answer["balance"].as_i64().unwrap()
    }

    pub async fn history(&self, query: &str) -> Value {
        self.get(&format!("/balance/{}/history{query}", self.user_id)).await.ok()
    }
}

/// Somebody with the operators' key, on the operators' listener.
pub struct Operator {
    pub http: Http,
    key: String,
    caps: Mutex<HashMap<String, i64>>,
}

impl Operator {
    pub fn new(http: Http, key: &str) -> Operator {
        Operator { http, key: key.to_owned(), caps: Mutex::default() }
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        self.http.request(method, path).bearer(&self.key)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send().await
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.request(method, path).json(&body).send().await
    }

    pub async fn queue(&self, name: &str) -> Value {
        self.get(&format!("/admin/queues/{name}")).await.ok()
    }

    /// How many turns were ever opened in a queue.
    pub async fn admitted_total(&self, name: &str) -> i64 {
        self.queue(name).await["admitted_total"].as_i64().unwrap()
    }

    pub async fn create_queue(&self, name: &str, policy: Value) {
        let made = self.send("POST", &format!("/admin/queues/{name}"), policy).await.created();
        self.remember_cap(name, &made["policy"]);
    }

    /// Changes some of a policy's fields; returns the whole of it.
    pub async fn tune(&self, name: &str, change: Value) -> Value {
        let path = format!("/admin/queues/{name}/policy");
        let policy = self.send("PATCH", &path, change).await.ok();
        self.remember_cap(name, &policy);
        policy
    }

    pub async fn admit(&self, name: &str, count: i64) -> Answer {
        self.send("POST", &format!("/admin/queues/{name}/admit"), json!({"count": count})).await
    }

    /// The newest entry of the audit trail.
    pub async fn last_deed(&self) -> Value {
        self.get("/admin/audit?limit=1").await.ok()["entries"][0].clone()
    }

    /// The most turns that this operator ever allowed at once: in `passthrough` there is no cap.
    pub fn highest_cap(&self, name: &str) -> i64 {
        self.caps.lock().unwrap().get(name).copied().unwrap_or(500)
    }

    fn remember_cap(&self, name: &str, policy: &Value) {
        let cap = match policy["mode"].as_str().unwrap() {
            "passthrough" => i64::MAX,
            _ => policy["active_max"].as_i64().unwrap(),
        };
        let mut caps = self.caps.lock().unwrap();
        let highest = caps.entry(name.to_owned()).or_insert(cap);
        *highest = cap.max(*highest);
    }
}
