//! What was planted and what opens doors never reaches anybody without the right to it (S28, S32, S34): not in a frame, a
//! message, a request to a model for somebody else, or the log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Mark},
    findings::Findings,
    sheet::Need,
    telegram,
    voices::{self, Said, Who},
};
use crate::{history::What, secret};

/// Shorter tokens would be found in ordinary words.
const SHORTEST: usize = 8;
/// How a secret is called in what an oracle says: a credential is not spelt out.
const SHOWN: usize = 6;

/// Checks them all.
pub fn check(conns: &[Conn], said: &BTreeMap<&str, Said>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let devices = tokens(conns);
    let owners: BTreeSet<String> = expect.owners.iter().map(i64::to_string).collect();
    frames(conns, &devices, facts, expect, out);
    let sends = telegram::calls(facts).into_iter().filter(|c| c.method != "getUpdates");
    for c in sends {
        let words = c.params.to_string();
        for credential in credentials(&words, expect, &devices) {
            out.broken("secrets", c.at.i, format!("{} tells {}", c.method, shown(credential)));
        }
        let chat = telegram::text(&c.params["chat_id"]);
        for (mark, place) in secret::marks(&words) {
            let at_home = secret::of_chat(place).is_some_and(|(home, _)| home == chat);
            let by_client = place.strip_prefix("client.").is_some_and(|name| sent_there(name, &chat, conns, expect));
            if !at_home && !by_client && !owners.contains(&chat) && !expect.is_carried_to(&chat) {
                out.broken("secrets", c.at.i, format!("chat {chat} is told {mark}, which is of {place}"));
            }
        }
    }
    for r in facts.history {
        let at = Mark::of(r);
        match &r.what {
            What::Log { line } => out.broken("secrets", at.i, format!("the log says {line:?}")),
            What::Model { text, entered, secrets, .. } => {
                let texts = if entered.is_empty() { std::slice::from_ref(text) } else { entered };
                let authors: Vec<Who> = authors(texts, said, at).map(|s| s.who).collect();
                for secret in secrets {
                    model(secret, &authors, at, out);
                }
            }
            _ => {}
        }
    }
}

/// Device tokens that were given out, and to which device.
fn tokens<'a>(conns: &[Conn<'a>]) -> BTreeMap<&'a str, &'a str> {
    let hellos = conns.iter().filter_map(|c| c.hello.as_ref());
    let given = hellos.filter_map(|h| {
        let token = h.payload["auth"]["deviceToken"].as_str().filter(|t| t.len() >= SHORTEST)?;
        Some((token, h.params["device"]["id"].as_str()?))
    });
    given.collect()
}

/// Credentials that stand in a text.
fn credentials<'t>(
    text: &'t str,
    expect: &'t Expect,
    devices: &'t BTreeMap<&str, &str>,
) -> impl Iterator<Item = &'t str> {
    let fixed = expect.credentials.iter().map(String::as_str);
    fixed.chain(devices.keys().copied()).filter(move |secret| text.contains(secret))
}

fn shown(credential: &str) -> String {
    format!("the credential {:?}...", credential.chars().take(SHOWN).collect::<String>())
}

/// What connections were shown.
fn frames(conns: &[Conn], devices: &BTreeMap<&str, &str>, facts: &Facts, expect: &Expect, out: &mut Findings) {
    let by_name: BTreeMap<&str, &Conn> = conns.iter().map(|c| (c.name, c)).collect();
    let mut text = String::new();
    for r in facts.history {
        let What::Received { conn, frame } = &r.what else { continue };
        let Some(c) = by_name.get(conn.as_str()) else { continue };
        text.clear();
        frame.write(&mut text);
        for credential in credentials(&text, expect, devices) {
            let own = c.hello.as_ref().and_then(|h| h.params["device"]["id"].as_str());
            let mine = own.is_some() && devices.get(credential).copied() == own && frame["type"] == "res";
            let asked = frame["id"]
                .as_str()
                .is_some_and(|id| c.requests.iter().any(|q| q.id == id && q.method == "device.token.rotate"));
            if !mine && !asked {
                out.broken("secrets", r.i, format!("{conn} is shown {}", shown(credential)));
            }
        }
        for (mark, place) in secret::marks(&text) {
            let own = place.strip_prefix("client.") == Some(c.client);
            let asks =
                frame["event"].as_str().is_some_and(|e| e.starts_with("exec.approval.")) && c.sees(Need::Approvals);
            let bound = c.hello.as_ref().is_some_and(|h| voices::of_conn(c, h, expect).is_bound());
            if !own && !asks && !bound && !c.sees(Need::Read) {
                out.broken(
                    "secrets",
                    r.i,
                    format!("{conn} may not read sessions and is shown {mark}, which is of {place}"),
                );
            }
        }
    }
}

/// The client `name` has asked for something to go to this chat, and may.
fn sent_there(name: &str, chat: &str, conns: &[Conn], expect: &Expect) -> bool {
    let who = |c: &Conn| c.hello.as_ref().is_some_and(|h| voices::of_conn(c, h, expect).is_bound_to(chat));
    if conns.iter().any(|c| c.client == name && who(c)) {
        return true;
    }
    conns.iter().filter(|c| c.client == name && c.sees(Need::Write)).any(|c| {
        let names = |params: &Value| params["to"].as_str() == Some(chat);
        c.requests.iter().any(|r| names(r.params))
    })
}

/// Those whose words entered a request.
fn authors<'s, 'a>(
    texts: &'s [String],
    said: &'s BTreeMap<&str, Said<'a>>,
    at: Mark,
) -> impl Iterator<Item = &'s Said<'a>> {
    said.values().filter(move |s| s.at.i < at.i && texts.iter().any(|t| t.contains(s.stamp)))
}

/// What a model is given for somebody who may not know it.
fn model(secret: &str, authors: &[Who], at: Mark, out: &mut Findings) {
    let Some((mark, place)) = secret::marks(secret).next() else {
        out.broken("secrets", at.i, format!("the model is told {}", shown(secret)));
        return;
    };
    for who in authors.iter().filter(|who| !who.is_trusted()) {
        let known = match who {
            // What operators say in a session of somebody is for them.
            Who::Person { chat, .. } => secret::of_chat(place).is_none_or(|(home, _)| home == chat.to_string()),
            Who::Client { node: Some(_), .. } => who.is_bound() || secret::of_chat(place).is_none(),
            Who::Client { rights, .. } => rights.meet(Need::Read),
        };
        if !known {
            let who = who.name();
            out.broken("secrets", at.i, format!("the model is given {mark}, which is of {place}, for {who}"));
        }
    }
}
