//! Traces as a collector gets them, and what becomes of everything else when it gets none.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::harness::*;

/// The caller's trace, and his span in it.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A collector. Dropped, it is gone.
struct Collector {
    url: String,
    told: UnboundedReceiver<ExportTraceServiceRequest>,
    _serving: JoinSet<()>,
}

/// A span as it was told.
#[derive(Debug)]
struct Told {
    name: String,
    trace: String,
    parent: String,
    about: BTreeMap<String, Value>,
}

impl Collector {
    async fn open() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = unbounded_channel();
        let take = move |batch: Bytes| {
            let batch = ExportTraceServiceRequest::decode(batch).expect("it is OTLP");
            tell.send(batch).expect("the story goes on");
            std::future::ready(())
        };
        let routes = Router::new().route("/v1/traces", post(take));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Collector { url, told, _serving: serving }
    }

    /// Everything that it was told so far.
    fn spans(&mut self) -> Vec<Told> {
        let mut spans = Vec::new();
        while let Ok(batch) = self.told.try_recv() {
            for of_a_process in batch.resource_spans {
                let process = about(of_a_process.resource.unwrap_or_default().attributes);
                assert_eq!(process["service.name"], "usher");
                let scopes = of_a_process.scope_spans.into_iter();
                spans.extend(scopes.flat_map(|scope| scope.spans).map(told));
            }
        }
        spans
    }
}

fn told(span: Span) -> Told {
    let trace = hex(&span.trace_id);
    let (name, parent) = (span.name, hex(&span.parent_span_id));
    Told { name, trace, parent, about: about(span.attributes) }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn about(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let value = |given: KeyValue| match given.value?.value? {
        any_value::Value::StringValue(text) => Some((given.key, json!(text))),
        any_value::Value::IntValue(number) => Some((given.key, json!(number))),
        any_value::Value::BoolValue(truth) => Some((given.key, json!(truth))),
        _ => None,
    };
    attributes.into_iter().filter_map(value).collect()
}

fn find<'a>(spans: &'a [Told], name: &str, trace: &str) -> &'a Told {
    let found = spans.iter().find(|span| span.name == name && span.trace == trace);
    found.unwrap_or_else(|| panic!("no {name} in {trace}: {spans:#?}"))
}

/// A concert with two seats.
async fn concert(shop: &Shop) -> i64 {
    let tier = json!({"name": "stalls", "price": PRICE, "seats": ["1", "2"]});
    let concert = json!({"title": "Nachtmusik", "place": "Town Hall", "starts_at": 1_999_999_999,
        "tiers": [tier]});
    let made = shop.operator().send("POST", "/admin/concerts", concert).await.created();
    made["concert_id"].as_i64().unwrap()
}

/// A booking within the caller's trace.
async fn book(ann: &Buyer, concert: i64, seat: &str) -> Answer {
    let wish = json!({"user_id": ann.user_id, "concert_id": concert, "seat_no": seat});
    let request = ann.request("POST", "/booking").header("x-request-id", "the-booking");
    request.header("traceparent", &format!("00-{TRACE}-{SPAN}-01")).json(&wish).send().await
}

mod sqlite {
    use super::*;

    #[tokio::test]
    async fn a_booking_is_told_in_the_trace_of_its_caller() {
        let data = tempfile::tempdir().unwrap();
        let mut collector = Collector::open().await;
        let settings = [("USHER_OTLP_ENDPOINT", &*collector.url), ("USHER_LOG", "usher=debug")];
        let shop = Shop::open(data.path(), settings).await;
        let concert = concert(&shop).await;
        let ann = shop.buyer(1, None);
        ann.join().await.active();
        book(&ann, concert, "1").await.held();
        book(&ann, concert, "nowhere").await.refused(404, "seat_not_found");
        let log = shop.stop().await;

        let spans = collector.spans();
        let request = find(&spans, "POST /booking", TRACE);
        assert_eq!(request.parent, SPAN);
        assert_eq!(request.about["request.id"], "the-booking");
        assert_eq!(request.about["http.route"], "/booking");
        assert_eq!(request.about["http.response.status_code"], 201);
        find(&spans, "redis booking/hold", TRACE);
        assert_eq!(find(&spans, "sql booking.hold", TRACE).about["committed"], true);

        let join = spans.iter().find(|span| span.name == "GET /token/{userId}").unwrap();
        assert!(join.trace != TRACE && join.parent.is_empty(), "{join:?}");
        find(&spans, "redis queue/join", &join.trace);
        let tick = spans.iter().find(|span| span.name == "tick").expect("ticks are told");
        assert_eq!(tick.about["queue.name"], "main");

        let refusal = log.lines().find(|line| line.contains("the-booking")).unwrap();
        let refusal: Value = serde_json::from_str(refusal).unwrap();
        assert_eq!(refusal["fields"]["trace.id"], TRACE);
    }

    #[tokio::test]
    async fn of_the_traces_that_begin_here_as_many_are_told_as_was_set() {
        let data = tempfile::tempdir().unwrap();
        let mut collector = Collector::open().await;
        let settings = [("USHER_OTLP_ENDPOINT", &*collector.url), ("USHER_TRACE_RATIO", "0")];
        let shop = Shop::open(data.path(), settings).await;
        let concert = concert(&shop).await;
        let ann = shop.buyer(1, None);
        ann.join().await.active();
        book(&ann, concert, "1").await.held();
        shop.stop().await;

        let spans = collector.spans();
        find(&spans, "sql booking.hold", TRACE);
        assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    }

    /// Nobody is there; or somebody is, and says nothing.
    #[tokio::test]
    async fn a_collector_that_is_away_changes_no_answer() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = [&silent, &nobody].map(|at| format!("http://{}", at.local_addr().unwrap()));
        drop(nobody);
        for (url, is_silent) in urls.iter().zip([true, false]) {
            let data = tempfile::tempdir().unwrap();
            let mut shop = Shop::open(data.path(), [("USHER_OTLP_ENDPOINT", &**url)]).await;
            let concert = concert(&shop).await;
            let ann = shop.buyer(1, None);
            ann.join().await.active();
            let booking = book(&ann, concert, "1").await.held();
            ann.top_up(PRICE).await.ok();
            ann.pay(booking).await.paid();
            if !is_silent {
                shop.says("the collector does not take spans").await;
                assert!(dropped(&shop).await > 0);
            }
            let log = shop.stop().await;
            assert_eq!(log.contains("some spans were not sent in time"), is_silent, "{log}");
        }
    }

    async fn dropped(shop: &Shop) -> u64 {
        let metrics = shop.operator().get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with("usher_spans_dropped_total "));
        line.unwrap().rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}
