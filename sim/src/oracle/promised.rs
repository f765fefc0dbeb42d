//! `agent` with `deliver: true` is answered after the delivery (docs/delivery.md, F16, F53): whoever hears that the run is ok, under
//! its key once more as well, hears it when what the model has said has arrived, and not before.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    conn::{Answer, Conn},
    facts::Facts,
    findings::Findings,
    telegram::{self, Call, places},
};
use crate::history::What;

/// Checks each of them.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let asked = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    let asked = asked.filter(|(_, r)| {
        r.method == "agent"
            && r.params["deliver"] == true
            && r.params["channel"] == "telegram"
            && r.params["to"].is_string()
    });
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return;
    }
    let calls = telegram::calls(facts);
    for (c, r) in &asked {
        let told = r.last.or(r.first).filter(|a: &Answer| a.ok() && a.status() == "ok");
        let (Some(told), Some(key)) = (told, r.key()) else { continue };
        let place = places::of_target(r.params["to"].as_str().unwrap_or_default());
        // It may have been asked for before, by somebody else with the same key.
        let same = || asked.iter().filter(|(_, o)| o.key() == Some(key));
        let since = same().map(|(_, o)| o.at.i).min().unwrap_or(r.at.i);
        let message = r.params["message"].as_str().unwrap_or_default();
        let said = said(message, facts, (since, told.at.i));
        if said.is_empty() {
            continue;
        }
        let brings = |call: &&Call| {
            let words = telegram::plain(call.words());
            call.is_send()
                && call.at.i > since
                && places::of_call(call) == place
                && said.iter().any(|whole| !words.trim().is_empty() && whole.contains(words.trim()))
        };
        let arrived = |call: &&Call| call.status() == 200 && call.end.is_some_and(|(end, _)| end.i < told.at.i);
        // Only where the words can be recognised at all.
        if calls.iter().any(|call| brings(&call)) && !calls.iter().any(|call| brings(&call) && arrived(&call)) {
            let text =
                format!("{}: run {key} is answered ok, and what it was to deliver to {place} has not arrived", c.name);
            out.broken("letters", told.at.i, text);
        }
    }
}

/// What models have answered to these words.
fn said(message: &str, facts: &Facts, (from, to): (u64, u64)) -> BTreeSet<String> {
    let of = |what: &What| {
        let What::Model { text, answer, .. } = what else { return None };
        let step: Value = serde_json::from_str(answer).unwrap_or_default();
        let words = match step["kind"].as_str() {
            Some("say") => step["text"].as_str()?.to_owned(),
            Some("words") => (1..=step["n"].as_u64()?).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" "),
            _ => return None,
        };
        (text.contains(message) && !words.trim().is_empty()).then_some(words)
    };
    facts.history.iter().filter(|r| r.i > from && r.i < to).filter_map(|r| of(&r.what)).collect()
}
