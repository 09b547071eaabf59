//! M1 to M6, M8 and M9: where money comes from, where it goes, and that nothing of it is lost. What people were told of
//! their balances is in `balances`.

use std::collections::{BTreeMap, HashMap};

use super::Finding;
use super::facts::Facts;
use crate::history::{Call, Op};
use crate::rows::Transfer;

/// The most a balance may hold, in minor units.
const BALANCE_MAX: i64 = 1_000_000_000_000;

/// What keeps rows of the ledger as they were written.
const SQLITE_TRIGGERS: &[&str] = &["the_ledger_only_grows_update", "the_ledger_only_grows_delete"];
const POSTGRES_TRIGGERS: &[&str] = &["the_ledger_only_grows"];

/// M1: a balance is the sum of its entries.
pub fn balances_are_sums(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for transfer in &facts.rows.transfers {
        let (sum, entries) = sums.entry(transfer.user_id).or_default();
        (*sum, *entries) = (*sum + change(transfer), *entries + 1);
    }
    for account in &facts.rows.accounts {
        let sum = sums.remove(&account.user_id).unwrap_or_default();
        finding.unless(sum == (account.balance, account.version), || {
            format!("{account:?}, and its entries come to {sum:?}")
        });
    }
    for (user, sum) in sums {
        finding.broken.push(format!("{user} has no account, and entries that come to {sum:?}"));
    }
    finding
}

/// M2: what leaves one side arrives at the other: of people, what is outside, and sales.
pub fn the_books_balance(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for transfer in &facts.rows.transfers {
        let is_known = ["topup", "purchase"].contains(&transfer.kind.as_str());
        finding.unless(is_known && transfer.amount > 0, || format!("{transfer:?} has no sides"));
    }
    let of_kind = |kind: &str| -> i64 {
        let transfers = facts.rows.transfers.iter().filter(|transfer| transfer.kind == kind);
        transfers.map(|transfer| transfer.amount).sum()
    };
    let (outside, sales) = (-of_kind("topup"), of_kind("purchase"));
    let people: i64 = facts.rows.accounts.iter().map(|account| account.balance).sum();
    finding.unless(people + outside + sales == 0, || {
        format!("people have {people}, outside {outside}, sales {sales}")
    });
    finding
}

/// M3: what is paid was paid for once, by its owner, at the price of its seats; what is not paid was not paid for.
pub fn sales_have_one_payment(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut payments: BTreeMap<&str, Vec<&Transfer>> = BTreeMap::new();
    for transfer in facts.rows.transfers.iter().filter(|transfer| transfer.kind == "purchase") {
        payments.entry(&transfer.reference).or_default().push(transfer);
    }
    for booking in &facts.rows.bookings {
        let paid = payments.remove(booking.id.to_string().as_str()).unwrap_or_default();
        let price = |seat| facts.prices.get(&(booking.concert_id, seat)).copied().unwrap_or(0);
        let costs: i64 = booking.seat_names().map(price).sum();
        finding.unless(booking.amount == costs, || {
            format!("booking {} costs {}, its seats {costs}", booking.id, booking.amount)
        });
        let is_right = match paid.as_slice() {
            [] => !booking.is("paid"),
            [payment] => {
                booking.is("paid")
                    && (payment.user_id, payment.amount) == (booking.user_id, booking.amount)
            }
            _ => false,
        };
        finding.unless(is_right, || format!("{booking:?} was paid for with {paid:?}"));
    }
    for (reference, paid) in payments {
        finding.broken.push(format!("{paid:?} paid for `{reference}`, which is no booking"));
    }
    finding
}

/// A wish to add money: of whom, with which key, how much.
type TopUp<'a> = (i64, Option<&'a str>, i64);

/// How often a top-up certainly happened, and how often at most.
#[derive(Clone, Copy, Default)]
struct Times {
    certain: i64,
    at_most: i64,
}

/// M4: a top-up that was acknowledged is there once for its key; one that was refused is not there.
pub fn top_ups_are_there_once(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut rows: HashMap<TopUp, i64> = HashMap::new();
    for transfer in facts.rows.transfers.iter().filter(|transfer| transfer.kind == "topup") {
        let wish = (transfer.user_id, transfer.idem_key.as_deref(), transfer.amount);
        *rows.entry(wish).or_default() += 1;
    }
    for (wish, times) in top_ups(facts) {
        let found = rows.remove(&wish).unwrap_or(0);
        finding.unless((times.certain..=times.at_most).contains(&found), || {
            format!("{found} times the top-up {wish:?}, of {} acknowledged", times.certain)
        });
    }
    for (wish, found) in rows {
        finding.broken.push(format!("{found} times the top-up {wish:?}, which nobody was given"));
    }
    finding
}

/// M5: no balance was ever below nought, or beyond its limit.
pub fn balances_are_in_bounds(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let after = facts.rows.transfers.iter().map(|row| (row.user_id, row.balance_after));
    let now = facts.rows.accounts.iter().map(|row| (row.user_id, row.balance));
    for (user, balance) in after.chain(now) {
        finding.unless((0..=BALANCE_MAX).contains(&balance), || {
            format!("{user} had a balance of {balance}")
        });
    }
    finding
}

/// M6: entries follow one another without a gap, each from the balance that the one before it has left.
pub fn entries_form_a_chain(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    for chain in facts.transfers.values() {
        let (mut version, mut balance) = (0, 0);
        for entry in chain {
            (version, balance) = (version + 1, balance + change(entry));
            finding.unless((entry.version, entry.balance_after) == (version, balance), || {
                format!("{entry:?} should be version {version} and leave {balance}")
            });
            (version, balance) = (entry.version, entry.balance_after);
        }
    }
    finding
}

/// M8: the database itself refuses to change the ledger.
pub fn the_ledger_is_guarded(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let triggers = match facts.run.database.as_str() {
        "sqlite" => SQLITE_TRIGGERS,
        _ => POSTGRES_TRIGGERS,
    };
    for trigger in triggers {
        finding.unless(facts.rows.triggers.iter().any(|name| name == trigger), || {
            format!("there is no trigger `{trigger}`")
        });
    }
    finding
}

/// M9: what people have and have spent is what they have added: nothing else makes money, or takes it.
pub fn money_comes_from_top_ups(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut money: BTreeMap<i64, i64> = BTreeMap::new();
    for account in &facts.rows.accounts {
        *money.entry(account.user_id).or_default() += account.balance;
    }
    for booking in facts.rows.bookings.iter().filter(|booking| booking.is("paid")) {
        *money.entry(booking.user_id).or_default() += booking.amount;
    }
    let mut added: BTreeMap<i64, Times> = BTreeMap::new();
    for ((user, _, amount), times) in top_ups(facts) {
        money.entry(user).or_default();
        let sum = added.entry(user).or_default();
        sum.certain += amount * times.certain;
        sum.at_most += amount * times.at_most;
    }
    for (user, money) in money {
        let Times { certain, at_most } = added.get(&user).copied().unwrap_or_default();
        finding.unless((certain..=at_most).contains(&money), || {
            format!("{user} has and spent {money}, and added {certain}, or at most {at_most}")
        });
    }
    finding
}

fn change(transfer: &Transfer) -> i64 {
    if transfer.kind == "topup" { transfer.amount } else { -transfer.amount }
}

/// The top-ups that were asked for and not refused. A key makes of many requests one.
fn top_ups<'a>(facts: &Facts<'a>) -> BTreeMap<TopUp<'a>, Times> {
    let mut wishes: BTreeMap<TopUp<'a>, Times> = BTreeMap::new();
    for op in facts.ops.iter().filter(|op| op.may_have_happened()) {
        let Op { user, call: Call::TopUp { amount, key }, .. } = op else { continue };
        let times = wishes.entry((*user, key.as_deref(), *amount)).or_default();
        times.at_most += 1;
        times.certain += i64::from(op.answer().is_some());
        if key.is_some() {
            (times.certain, times.at_most) = (times.certain.min(1), 1);
        }
    }
    wishes
}
