//! Messages that do not go out.

use std::collections::BTreeMap;

use super::{Problem, problem};
use crate::{
    delivery::Pile,
    limits::{WAITING_LONG, WAITING_MANY},
};

/// `delivery.dead`, `delivery.unknown`, `delivery.waiting`, each at most once for an account.
pub fn find(piles: &BTreeMap<(String, String), Pile>) -> Vec<Problem> {
    piles.iter().flat_map(|((channel, account), pile)| of(&format!("{channel}/{account}"), pile)).collect()
}

fn of(subject: &str, pile: &Pile) -> Vec<Problem> {
    let mut found = vec![];
    let counts = pile.counts;
    if counts.dead > 0 {
        let text = format!("given up: {} to {subject}", messages(counts.dead));
        let fix = "`openclaw delivery list` says why; `delivery retry` sends them again, `delivery drop` forgets them";
        found.push(problem("delivery.dead", subject, text, fix));
    }
    if counts.unknown > 0 {
        let text = format!("may or may not have arrived: {} to {subject}", messages(counts.unknown));
        let fix = "look into the chat; `openclaw delivery list` shows them, `delivery retry` sends them again, `delivery \
                   drop` forgets them";
        found.push(problem("delivery.unknown", subject, text, fix));
    }
    if counts.queued >= WAITING_MANY || (counts.queued > 0 && pile.oldest >= WAITING_LONG) {
        let minutes = pile.oldest.as_secs() / 60;
        let text = format!("waiting to go out: {} to {subject}, the oldest for {minutes} min", messages(counts.queued));
        let fix = "`openclaw delivery list --state queued` says what each waits for; they go out by themselves once the \
                   service takes them";
        found.push(problem("delivery.waiting", subject, text, fix));
    }
    found
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}
