//! What becomes of a `send` on its way (docs/delivery.md, F06): it goes out within its time to live or not at all, over restarts
//! and jumps of the clock ([`age`]); a long one goes out part by part, in order, each once ([`parts`]).
//!
//! Judged are messages whose words tell which `send` they belong to.

mod age;
mod parts;

use super::{
    Expect,
    conn::{Answer, Conn},
    facts::{Facts, Mark},
    findings::Findings,
    telegram::{self, Call, places, quoted},
};
use crate::history::What;

/// One message for a chat, however often it was asked for with its key.
struct Sending<'a> {
    /// Whose key, and the key.
    whose: (&'a str, &'a str),
    /// Chat and topic.
    place: String,
    /// Letters and digits of its words.
    bare: String,
    /// When it was asked for, in order.
    asked: Vec<Mark>,
    /// What was answered, in order.
    answers: Vec<Answer<'a>>,
}

/// A call of the service that brings a piece of it: from where to where in its letters.
struct Piece<'c> {
    from: usize,
    to: usize,
    call: &'c Call<'c>,
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let sendings = sendings(conns);
    for sending in &sendings {
        let mut others = sendings.iter().filter(|o| o.whose != sending.whose && o.place == sending.place);
        if others.any(|o| o.bare.contains(&sending.bare) || sending.bare.contains(&o.bare)) {
            continue;
        }
        let Some(pieces) = pieces(sending, &calls) else { continue };
        age::check(sending, &pieces, conns, facts, expect, out);
        parts::check(sending, &pieces, facts, expect, out);
    }
}

fn sendings<'a>(conns: &[Conn<'a>]) -> Vec<Sending<'a>> {
    let mut all: Vec<Sending> = Vec::new();
    let mut requests: Vec<_> = Vec::new();
    for c in conns {
        let who = c.hello.as_ref().map(|h| h.params["device"]["id"].as_str().unwrap_or("shared"));
        requests.extend(c.requests.iter().filter_map(|r| Some((who?, r))));
    }
    requests.sort_by_key(|(_, r)| r.at.i);
    for (who, r) in requests {
        let (Some(key), Some(words)) = (r.key(), r.params["message"].as_str()) else { continue };
        if r.method != "send" || r.params["channel"] != "telegram" {
            continue;
        }
        let known = all.iter_mut().find(|s| s.whose == (who, key));
        match known {
            Some(known) => {
                known.asked.push(r.at);
                known.answers.extend(r.first);
            }
            None => all.push(Sending {
                whose: (who, key),
                place: places::of_target(r.params["to"].as_str().unwrap_or_default()),
                bare: bare(words),
                asked: vec![r.at],
                answers: r.first.into_iter().collect(),
            }),
        }
    }
    all.retain(|s| !s.bare.is_empty());
    all
}

/// The calls that bring it, in order; `None` where one fits in several places of it.
fn pieces<'c>(sending: &Sending, calls: &'c [Call<'c>]) -> Option<Vec<Piece<'c>>> {
    let mut pieces = Vec::new();
    for call in calls.iter().filter(|c| c.is_send() && places::of_call(c) == sending.place) {
        let words = bare(call.words());
        if words.is_empty() || quoted(call.words()).next().is_some() || call.at.i < sending.asked[0].i {
            continue;
        }
        let mut found = sending.bare.match_indices(&words);
        let Some((from, _)) = found.next() else { continue };
        if found.next().is_some() {
            return None;
        }
        pieces.push(Piece { from, to: from + words.len(), call });
    }
    Some(pieces)
}

/// Somebody has asked for it once more since then: it lives anew.
fn is_renewed(sending: &Sending, until: u64, facts: &Facts) -> bool {
    let asks = |what: &What| match what {
        What::Sent { frame, .. } => frame["method"] == "delivery.retry",
        What::Update { update, .. } => update["text"].as_str().is_some_and(|t| t.starts_with("/resend")),
        _ => false,
    };
    facts.history.iter().any(|r| r.i > sending.asked[0].i && r.t_us <= until && asks(&r.what))
}

/// Letters and digits: what no markup changes.
pub fn bare(words: &str) -> String {
    let mut inside = false;
    let text = words.chars().filter(|c| {
        let tag = inside || *c == '<';
        inside = tag && *c != '>';
        !tag
    });
    telegram::plain(&text.collect::<String>()).chars().filter(|c| c.is_alphanumeric()).collect()
}
