//! The report of a sale, as text and as one page with its charts.
//!
//! May not live here: figures that the server does not tell. What is absent shows as nothing.

use std::path::Path;

use anyhow::Context;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::show::{self, Column};
use crate::clock::rfc3339;

const TIERS: [Column; 8] = [
    ("CONCERT", "/concert_id"),
    ("TITLE", "/title"),
    ("TIER", "/name"),
    ("PRICE", "/price"),
    ("SEATS", "/seats"),
    ("SOLD", "/seats_sold"),
    ("HELD", "/seats_held"),
    ("AMOUNT", "/amount"),
];

const MINUTES: [Column; 8] = [
    ("MINUTE", "/at"),
    ("SET/S", "/rate_set_per_second"),
    ("REACHED/S", "/rate_reached_per_second"),
    ("ADMITTED", "/admitted"),
    ("BOOKED", "/booked"),
    ("PAID", "/paid"),
    ("SEATS SOLD", "/seats_sold"),
    ("AMOUNT", "/amount"),
];

/// Of the drawing, not of the screen.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 200.0;
const MINUTE_SECONDS: f64 = 60.0;

pub fn text(body: &Value) -> String {
    let mut sums = body.clone();
    if let Some(sums) = sums.as_object_mut() {
        sums.retain(|_, value| !value.is_array());
        sums.remove("check");
    }
    let (tiers, minutes) =
        (show::rows(&body["tiers"], &TIERS), show::rows(&body["minutes"], &MINUTES));
    let books = show::check(&body["check"]);
    format!("{}\n\n{tiers}\n\n{minutes}\n\n{books}", show::fields(&sums))
}

pub fn write(file: &Path, body: &Value) -> anyhow::Result<()> {
    std::fs::write(file, page(body)?).with_context(|| format!("cannot write {}", file.display()))
}

fn page(body: &Value) -> anyhow::Result<String> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.set_undefined_behavior(UndefinedBehavior::Chainable);
    templates.add_template("report.html", include_str!("report.html"))?;
    let values = json!({"report": body, "chart": chart(body), "width": WIDTH, "height": HEIGHT});
    let page = templates.get_template("report.html")?;
    Ok(page.render(minijinja::Value::from(Serde(&values)))?)
}

/// Where each minute stands in the drawings: how high the rate that was set and that was reached, and the seats sold up to
/// its end.
fn chart(body: &Value) -> Value {
    let minutes = body["minutes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let number = |minute: &Value, name: &str| minute[name].as_f64().unwrap_or_default();
    let at = |minute: &Value| {
        let at = OffsetDateTime::parse(minute["at"].as_str().unwrap_or_default(), &Rfc3339);
        at.map_or(0.0, |at| at.unix_timestamp() as f64)
    };
    let (first, last) =
        (minutes.first().map_or(0.0, at), minutes.last().map_or(0.0, at) + MINUTE_SECONDS);
    let rates = ["rate_set_per_second", "rate_reached_per_second"];
    let rates = minutes.iter().flat_map(|minute| rates.map(|name| number(minute, name)));
    let rate_max = rates.fold(f64::MIN_POSITIVE, f64::max);
    let seats_max = minutes.iter().map(|minute| number(minute, "seats_sold")).sum::<f64>().max(1.0);
    let mut seats = 0.0;
    let bars = minutes.iter().map(|minute| {
        seats += number(minute, "seats_sold");
        json!({
            "x": (at(minute) - first) / (last - first) * WIDTH,
            "set": minute["rate_set_per_second"].as_f64().map(|rate| rate / rate_max * HEIGHT),
            "reached": number(minute, "rate_reached_per_second") / rate_max * HEIGHT,
            "sold": seats / seats_max * HEIGHT,
            "minute": minute,
        })
    });
    let bars: Vec<Value> = bars.collect();
    let width = MINUTE_SECONDS / (last - first) * WIDTH;
    let (first, end) = (rfc3339(first as i64 * 1_000), rfc3339(last as i64 * 1_000));
    json!({"bars": bars, "bar_width": width, "rate_max": rate_max, "seats_max": seats_max, "first": first, "end": end})
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{chart, page, text};

    fn report() -> Value {
        let minute = |at: &str, set: Value, reached: f64, sold: u64| {
            json!({"at": at, "admitted": 60, "booked": 3, "paid": sold, "seats_sold": sold, "amount": sold * 500,
                "rate_set_per_second": set, "rate_reached_per_second": reached})
        };
        json!({
            "queue": "main", "joined": 70, "waiting": 3, "amount": 2_000, "turns": {"opened": 60},
            "tiers": [{"concert_id": 1, "title": "<b>Requiem</b>", "name": "Stalls", "price": 500, "seats": 4,
                "seats_sold": 4, "seats_held": 0, "amount": 2_000}],
            "minutes": [
                minute("2031-05-01T11:00:00.000Z", json!(2.0), 1.0, 1),
                minute("2031-05-01T11:03:00.000Z", Value::Null, 4.0, 3),
            ],
            "check": {"ok": true, "checks": [], "queues": []},
        })
    }

    #[test]
    fn minutes_stand_where_they_were_and_as_high_as_they_reached() {
        let chart = chart(&report());
        let of = |name: &str| [&chart["bars"][0][name], &chart["bars"][1][name]];
        assert_eq!(of("x"), [&json!(0.0), &json!(675.0)]);
        assert_eq!(of("set"), [&json!(100.0), &Value::Null]);
        assert_eq!(of("reached"), [&json!(50.0), &json!(200.0)]);
        assert_eq!(of("sold"), [&json!(50.0), &json!(200.0)]);
        assert_eq!(chart["bar_width"], 225.0);
        assert_eq!(chart["end"], "2031-05-01T11:04:00.000Z");
    }

    #[test]
    fn a_sale_that_has_not_begun_is_a_report_as_well() {
        for body in [json!({}), json!({"minutes": [], "tiers": []})] {
            assert!(page(&body).unwrap().ends_with("</html>"));
            assert!(text(&body).contains("MINUTE"));
        }
    }

    #[test]
    fn a_page_is_one_file_and_a_title_is_no_markup() {
        let page = page(&report()).unwrap();
        assert!(page.contains("&lt;b&gt;Requiem"), "{page}");
        assert!(page.contains("2031-05-01T11:03"), "{page}");
        assert!(page.contains("4.0 a second</text>") && page.contains("Seats: 4</text>"), "{page}");
        for outside in ["src=", "@import", "<script", "<link"] {
            assert!(!page.contains(outside), "{outside}: {page}");
        }
    }

    #[test]
    fn a_text_has_sums_tiers_minutes_and_books() {
        let text = text(&report());
        for part in ["joined", "Stalls", "2031-05-01T11:00:00.000Z", "all checks hold"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('['), "no list is in one cell: {text}");
    }
}
