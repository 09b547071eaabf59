//! M7: what people were told of their balances fits one order of everything that changed them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Finding;
use super::facts::Facts;
use crate::history::{Answer, Call, Op};
use crate::rows::Transfer;

/// A balance between two entries, and when it may have come about.
struct Version {
    balance: i64,
    /// When the first request for it began.
    begun_us: i64,
    /// When somebody was first told of it.
    told_us: i64,
}

/// M7: a balance that was read is the one of some version that was there during the reading, and later readings see the
/// same version or a later one. The earliest version that fits leaves the most room for what follows.
pub fn balances_are_up_to_date(facts: &Facts) -> Finding {
    let mut finding = Finding::default();
    let mut reads: HashMap<i64, Vec<(&Op, i64)>> = HashMap::new();
    for (op, answer) in facts.answers() {
        if let (Call::Balance | Call::TopUp { .. }, Answer::Balance { balance }) =
            (&op.call, answer)
        {
            reads.entry(op.user).or_default().push((op, *balance));
        }
    }
    for (user, reads) in reads {
        let chain = facts.transfers.get(&user).map_or(&[][..], Vec::as_slice);
        for (op, balance) in reads.iter().filter(|(op, _)| op.call != Call::Balance) {
            let told = |entry: &&&Transfer| is_for(op, entry);
            let is_right = chain.iter().find(told).is_none_or(|it| it.balance_after == *balance);
            finding.unless(is_right, || {
                format!("request {}: {user} was told {balance} after another top-up", op.id)
            });
        }
        let versions = versions(facts, user, chain);
        let reads = reads.into_iter().filter(|(op, _)| op.call == Call::Balance);
        in_order(&mut finding, &versions, reads);
    }
    finding
}

/// Finds a version for each reading, in the order in which they began.
fn in_order<'a>(
    finding: &mut Finding,
    versions: &[Version],
    reads: impl Iterator<Item = (&'a Op, i64)>,
) {
    let mut under_way: BinaryHeap<Reverse<(i64, usize)>> = BinaryHeap::new();
    let mut seen = 0;
    for (op, balance) in reads {
        while let Some(Reverse((ended_us, version))) = under_way.peek()
            && *ended_us < op.begun_us
        {
            seen = seen.max(*version);
            under_way.pop();
        }
        let told = versions.iter().rposition(|version| version.told_us < op.begun_us);
        let begun = versions.iter().rposition(|version| version.begun_us < op.ended_us);
        let (from, to) = (seen.max(told.unwrap_or(0)), begun.unwrap_or(0));
        let fits = (from..=to).find(|version| versions[*version].balance == balance);
        finding.unless(fits.is_some(), || {
            format!(
                "request {}: {} was told {balance}, no version of {from} to {to}",
                op.id, op.user
            )
        });
        under_way.extend(fits.map(|version| Reverse((op.ended_us, version))));
    }
}

/// The balances of a person, one after the other, from nought.
fn versions(facts: &Facts, user: i64, chain: &[&Transfer]) -> Vec<Version> {
    let begins = Version { balance: 0, begun_us: i64::MIN, told_us: i64::MIN };
    let entries = chain.iter().map(|entry| {
        let requests = || facts.wishes(user).filter(|op| is_for(op, entry));
        // Without a key nobody knows which of several requests an answer was to.
        let is_named = entry.kind == "purchase" || entry.idem_key.is_some();
        let told = requests().filter(|op| is_named && op.answer().is_some());
        Version {
            balance: entry.balance_after,
            begun_us: requests().map(|op| op.begun_us).min().unwrap_or(i64::MAX),
            told_us: told.map(|op| op.ended_us).min().unwrap_or(i64::MAX),
        }
    });
    std::iter::once(begins).chain(entries).collect()
}

/// Whether a request is one for this entry.
fn is_for(op: &Op, entry: &Transfer) -> bool {
    match &op.call {
        Call::Pay { booking, .. } => {
            entry.kind == "purchase" && entry.reference == booking.to_string()
        }
        Call::TopUp { amount, key } => {
            entry.kind == "topup" && (*amount, key) == (entry.amount, &entry.idem_key)
        }
        _ => false,
    }
}
