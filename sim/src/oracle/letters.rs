//! What operators see of messages that are not delivered, and what they do about them, against what the Bot API has taken and
//! refused (docs/delivery.md, F06, F07): what was refused for good is listed, what arrived is not, each with its words, its
//! reason and its tries; what is sent again goes out, what was dropped never does.
//!
//! Only messages whose words say by themselves which ones they are are judged: answers that quote a message, and what
//! exactly one `send` has said.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    conn::{Answer, Conn, Request},
    facts::{Facts, Mark},
    findings::Findings,
    sheet,
    telegram::{self, Call, is_doubtful, quoted, text},
};
use crate::history::What;

/// What came of a call is stored, and shown, by then, in microseconds.
const STORES: u64 = 3_000_000;
/// What is sent again has been tried by then, where nothing holds it up, in microseconds.
const TRIED: u64 = 15_000_000;
/// Two looks so close together differ only by what happens between them, in microseconds.
const CLOSE: u64 = 5_000_000;

/// Letters and digits of a text: what no markup changes.
fn bare(words: &str) -> String {
    let mut inside = false;
    let plain = telegram::plain(
        &words
            .chars()
            .filter(|c| {
                let tag = inside || *c == '<';
                inside = tag && *c != '>';
                !tag
            })
            .collect::<String>(),
    );
    plain.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// A message to a chat, as far as it is told apart from others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Words {
    chat: String,
    bare: String,
}

/// A row of a list.
struct Row<'a> {
    conn: &'a Conn<'a>,
    asked: Mark,
    answer: Mark,
    words: Words,
    json: &'a Value,
}

impl Row<'_> {
    fn is(&self, call: &Said) -> bool {
        call.words.chat == self.words.chat && call.words.bare.starts_with(&self.words.bare)
    }
    fn state(&self) -> &str {
        self.json["state"].as_str().unwrap_or_default()
    }
    fn id(&self) -> &str {
        self.json["id"].as_str().unwrap_or_default()
    }
}

/// A send that the service saw.
struct Said<'a> {
    call: &'a Call<'a>,
    words: Words,
}

impl Said<'_> {
    fn end(&self) -> u64 {
        self.call.end.map_or(u64::MAX, |(at, _)| at.t)
    }
    fn is_refused(&self) -> bool {
        matches!(self.call.status(), 400..=428)
    }
}

fn good<'a>(
    conns: &'a [Conn<'a>],
    method: &'static str,
) -> impl Iterator<Item = (&'a Conn<'a>, &'a Request<'a>, Answer<'a>)> {
    let all = conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r)));
    all.filter_map(move |(c, r)| Some((c, r, r.first.filter(|a| r.method == method && a.ok())?)))
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    counts(conns, facts, out);
    // A disk that fails or lies keeps what it likes.
    if facts.faults.iter().any(|f| matches!(f.kind, "disk" | "bit_flip" | "lost_write" | "clock_jump")) {
        return;
    }
    let calls = telegram::calls(facts);
    let said = said(conns, &calls);
    let rows = rows(conns);
    for row in &rows {
        listed(row, &said, facts, out);
    }
    refused(conns, &rows, &said, facts, out);
    dropped(conns, &rows, &said, out);
    sent_again(conns, &rows, &said, facts, out);
    answered(conns, &said, facts, out);
}

/// Sends that tell which message they are.
fn said<'a>(conns: &[Conn], calls: &'a [Call<'a>]) -> Vec<Said<'a>> {
    // By chat and words the keys that have said them.
    let mut keys: BTreeMap<Words, BTreeSet<&str>> = BTreeMap::new();
    for r in conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "send") {
        keys.entry(of_send(r)).or_default().insert(r.key().unwrap_or_default());
    }
    let of = |call: &'a Call<'a>| {
        let words = Words { chat: call.chat(), bare: bare(words_of(call)) };
        let quotes: BTreeSet<i64> = quoted(words_of(call)).collect();
        let own = keys.get(&words).is_some_and(|keys| keys.len() == 1);
        (quotes.len() == 1 || (quotes.is_empty() && own)).then_some(Said { call, words })
    };
    calls.iter().filter(|c| c.is_send()).filter_map(of).collect()
}

fn words_of<'a>(call: &'a Call) -> &'a str {
    call.params["text"].as_str().or_else(|| call.params["caption"].as_str()).unwrap_or_default()
}

/// What a `send` says.
fn of_send(r: &Request) -> Words {
    let to = r.params["to"].as_str().unwrap_or_default();
    let chat = to.trim_start_matches("telegram:").trim_start_matches("tg:").to_owned();
    Words { chat, bare: bare(r.params["message"].as_str().unwrap_or_default()) }
}

fn rows<'a>(conns: &'a [Conn<'a>]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for (conn, r, a) in good(conns, "delivery.list") {
        for row in a.frame["payload"]["deliveries"].as_array().into_iter().flatten() {
            let words = Words {
                chat: row["to"].as_str().unwrap_or_default().to_owned(),
                bare: bare(row["text"].as_str().unwrap_or_default()),
            };
            if !words.bare.is_empty() && row["media"].as_u64().unwrap_or(0) == 0 {
                rows.push(Row { conn, asked: r.at, answer: a.at, words, json: row });
            }
        }
    }
    rows
}

/// A row says what the service has seen of its message.
fn listed(row: &Row, said: &[Said], facts: &Facts, out: &mut Findings) {
    let own: Vec<&Said> = said.iter().filter(|s| row.is(s) && s.call.at.i < row.answer.i).collect();
    let mut say = |why: String| {
        let text = format!("{}: message {} to {} {why}", row.conn.name, row.id(), row.words.chat);
        out.broken("letters", row.answer.i, text);
    };
    if own.is_empty() || row.json["parts"].as_u64().is_some_and(|n| n > 1) {
        return;
    }
    let known = |s: &&&Said| s.end() + STORES + facts.stores <= row.asked.t && !is_doubtful(s.call, facts);
    if let Some(s) = own.iter().filter(known).find(|s| s.call.status() == 200) {
        say(format!("is listed as {}, and arrived (record {})", row.state(), s.call.at.i));
        return;
    }
    let reason = row.json["reason"].as_str().unwrap_or_default();
    let last = own.iter().max_by_key(|s| s.call.at.i).map_or(0, |s| s.call.status());
    if row.state() == "dead" {
        let fits = match reason {
            "refused" => own.iter().any(|s| s.is_refused()),
            "notLinked" => matches!(last, 401 | 404),
            "gaveUp" => own.iter().any(|s| !s.is_refused() && s.call.status() != 200),
            _ => true,
        };
        let error = row.json["error"].as_str().unwrap_or_default();
        let told = !matches!(reason, "refused" | "notLinked") || error.contains(&last.to_string());
        if !fits || !told {
            say(format!("is dead, {reason}, {error:?}; the service answered {last}"));
        }
    } else if row.state() == "unknown" && own.iter().all(|s| s.call.status() != 200 && !is_doubtful(s.call, facts)) {
        // Nothing of it was left open that could be seen: a process end or a broken link may have hidden a call.
        let since = own.iter().map(|s| s.call.at.t).min().unwrap_or(0);
        let hidden = facts.ended_between(since, row.answer.t) || disturbed(facts, since, row.answer.t);
        if !hidden {
            say(format!("is unknown, though the service answered each time ({last} last)"));
        }
    }
    // A message that is refused for its markup is said again without; others are counted.
    let settled =
        own.iter().all(|s| s.end() + STORES <= row.asked.t && s.call.status() != 400 && !is_doubtful(s.call, facts));
    let during = said.iter().any(|s| row.is(s) && s.call.at.i >= row.asked.i && s.call.at.i <= row.answer.i);
    if settled && !during {
        let (tries, calls) = (row.json["attempts"].as_u64().unwrap_or(0), own.len() as u64);
        let first = own[0].call.at.t.saturating_sub(STORES);
        let hidden = facts.ended_between(first, row.answer.t) || disturbed(facts, first, row.answer.t);
        if tries < calls || (tries > calls && !hidden) {
            say(format!("shows {tries} attempts, the service saw {calls}"));
        }
    }
}

/// The link to the service may have kept a call from it.
fn disturbed(facts: &Facts, from: u64, to: u64) -> bool {
    let link = |f: &super::facts::Fault| f.is_network() && f.is_telegram() || f.kind == "telegram_drop";
    facts.faults.iter().any(|f| link(f) && f.from <= to && f.to.saturating_add(60_000_000) >= from)
}

/// Ids that an operator has named, of which nothing else is known.
fn touches(r: &Request, words: &Words, rows: &[Row]) -> bool {
    let Some(id) = r.params["id"].as_str() else { return true };
    let mut known = rows.iter().filter(|row| row.id() == id).peekable();
    known.peek().is_none() || known.any(|row| row.words.chat == words.chat && words.bare.starts_with(&row.words.bare))
}

/// What was refused for good is in every list that shows such, until an operator deals with it.
fn refused(conns: &[Conn], rows: &[Row], said: &[Said], facts: &Facts, out: &mut Findings) {
    let orders: Vec<&Request> = conns
        .iter()
        .flat_map(|c| &c.requests)
        .filter(|r| matches!(r.method, "delivery.retry" | "delivery.drop"))
        .collect();
    for s in said.iter().filter(|s| s.call.status() == 403 && !is_doubtful(s.call, facts)) {
        let ended = s.end();
        if facts.ended_between(ended, ended + STORES) {
            continue;
        }
        for (c, r, a) in good(conns, "delivery.list") {
            let shown = a.frame["payload"]["deliveries"].as_array().map_or(&[][..], Vec::as_slice);
            let whole = (shown.len() as u64) < r.params["limit"].as_u64().unwrap_or(200)
                && r.params["state"].as_str().is_none_or(|s| s == "dead");
            let again = said.iter().any(|o| o.words == s.words && o.call.at.i > s.call.at.i && o.call.at.i < a.at.i);
            let dealt = orders
                .iter()
                .any(|o| o.at.i < a.at.i && o.first.is_none_or(|x| x.at.i > s.call.at.i) && touches(o, &s.words, rows));
            if !whole || again || dealt || r.at.t < ended + STORES + facts.stores {
                continue;
            }
            let mut mine = rows.iter().filter(|row| row.answer == a.at && row.is(s));
            if !mine.any(|row| row.state() == "dead" && row.json["reason"] == "refused") {
                let text = format!(
                    "{}: a message to {} was refused for good (record {}), and is not listed as dead",
                    c.name, s.words.chat, s.call.at.i
                );
                out.broken("letters", a.at.i, text);
            }
        }
    }
}

/// What was dropped is gone: it is never listed and never sent again.
fn dropped(conns: &[Conn], rows: &[Row], said: &[Said], out: &mut Findings) {
    for (c, r, a) in good(conns, "delivery.drop") {
        for id in a.frame["payload"]["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if let Some(row) = rows.iter().find(|row| row.id() == id && row.asked.i > a.at.i) {
                let text = format!("{}: message {id} is listed, though it was dropped", row.conn.name);
                out.broken("letters", row.answer.i, text);
            }
            let Some(row) = rows.iter().find(|row| row.id() == id) else { continue };
            if let Some(s) = said.iter().find(|s| row.is(s) && s.call.at.i > a.at.i) {
                let text =
                    format!("message {id} to {} was sent, though {} had dropped it ({})", row.words.chat, c.name, r.id);
                out.broken("letters", s.call.at.i, text);
            }
        }
    }
}

/// What is sent again is tried soon.
fn sent_again(conns: &[Conn], rows: &[Row], said: &[Said], facts: &Facts, out: &mut Findings) {
    for (c, r, a) in good(conns, "delivery.retry") {
        let until = a.at.t + TRIED;
        if facts.ended_between(r.at.t, until) || disturbed(facts, r.at.t, until) || until > facts.finish() {
            continue;
        }
        for id in a.frame["payload"]["ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let Some(row) = rows.iter().find(|row| row.id() == id) else { continue };
            let named = said.iter().any(|s| row.is(s));
            let tried = said.iter().any(|s| row.is(s) && s.call.at.i > r.at.i && s.call.at.t <= until);
            // One before it in the chat, or the limits of the service, may keep it.
            let kept = facts.history.iter().any(|h| match &h.what {
                What::Telegram { params, status, .. } => {
                    let held = *status == Some(429) && h.t_us + 60_000_000 >= r.at.t && h.t_us <= until;
                    let before = text(&params["chat_id"]) == row.words.chat
                        && (r.at.t.saturating_sub(TRIED)..=until).contains(&h.t_us);
                    held || before
                }
                _ => false,
            });
            let dropped = good(conns, "delivery.drop").any(|(_, d, x)| {
                d.at.t <= until && x.frame["payload"]["ids"].as_array().is_some_and(|ids| ids.iter().any(|x| x == id))
            });
            if named && !tried && !kept && !dropped {
                let text =
                    format!("{}: message {id} is to be sent again, and was not within {} s", c.name, TRIED / 1_000_000);
                out.broken("letters", a.at.i, text);
            }
        }
    }
}

/// What `send` answers is what has become of the message.
fn answered(conns: &[Conn], said: &[Said], facts: &Facts, out: &mut Findings) {
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))).filter(|(_, r)| r.method == "send")
    {
        let (Some(a), words) = (r.first, of_send(r)) else { continue };
        if words.bare.is_empty() || words.chat.parse::<i64>().is_err() || r.params["channel"] != "telegram" {
            continue;
        }
        let own =
            || said.iter().filter(|s| s.words.chat == words.chat && s.words.bare == words.bare && s.call.at.i < a.at.i);
        let seen = said.iter().any(|s| s.words == words);
        let fits = match a.reason() {
            _ if a.ok() => own().any(|s| s.call.status() == 200),
            "DELIVERY_REFUSED" => own().any(Said::is_refused),
            "DELIVERY_FAILED" => own().any(|s| s.call.status() != 200),
            "DELIVERY_UNKNOWN" => {
                own().any(|s| is_doubtful(s.call, facts))
                    || facts.ended_between(0, a.at.t)
                    || disturbed(facts, 0, a.at.t)
            }
            _ => continue,
        };
        let link = facts.faults.iter().any(|f| f.is_telegram() && f.is_network() && f.from <= a.at.t);
        if seen && !fits && (a.ok() || !link) {
            let what = if a.ok() { "delivered".to_owned() } else { a.reason().to_owned() };
            let status: Vec<u16> = own().map(|s| s.call.status()).collect();
            let text = format!("{}: send {} is answered {what}, the service said {status:?}", c.name, r.id);
            out.broken("letters", a.at.i, text);
        }
    }
}

/// How many messages there are: two looks between which nothing has happened show the same.
fn counts(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    let mut looks: Vec<(&Conn, &Request, Answer, [u64; 3])> = Vec::new();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        let Some(a) = r.first.filter(Answer::ok) else { continue };
        let payload = &a.frame["payload"];
        let counts = match r.method {
            "delivery.list" => &payload["counts"],
            "status" | "channels.status" => &payload["delivery"],
            _ => continue,
        };
        let of = |v: &Value| ["queued", "dead", "unknown"].map(|key| v[key].as_u64().unwrap_or(0));
        if counts.is_object() {
            looks.push((c, r, a, of(counts)));
        }
        if r.method == "channels.status" {
            let accounts = payload["channelAccounts"].as_object().into_iter().flatten();
            let rows = accounts.flat_map(|(_, rows)| rows.as_array().into_iter().flatten());
            let sum = rows.fold([0; 3], |sum, row| {
                let own = of(&row["delivery"]);
                [sum[0] + own[0], sum[1] + own[1], sum[2] + own[2]]
            });
            if counts.is_object() && sum != of(counts) {
                let text =
                    format!("{}: channels.status: the accounts have {sum:?} messages, all have {counts}", c.name);
                out.broken("letters", a.at.i, text);
            }
        }
    }
    looks.sort_by_key(|(_, _, a, _)| a.at.i);
    for pair in looks.windows(2) {
        let ((_, first, early, before), (c, second, late, after)) = (&pair[0], &pair[1]);
        let (from, to) = (first.at.i.min(second.at.i), late.at.i);
        let close = late.at.t < facts.history[from as usize].t_us + CLOSE;
        // What was on its way as the first one looked may be over as the second one does.
        let calm = close
            && early.at.i < second.at.i
            && quiet_before(facts, from)
            && (from..=to).all(|i| is_calm(&facts.history[i as usize].what));
        if calm && before != after {
            let text = format!(
                "{}: {} shows {after:?} messages (queued, dead, unknown), {} before had {before:?}",
                c.name, second.method, first.method
            );
            out.broken("letters", late.at.i, text);
        }
    }
}

/// Nothing has happened to messages for a while before this record.
fn quiet_before(facts: &Facts, at: u64) -> bool {
    let t = facts.history[at as usize].t_us;
    let recent = facts.history[..at as usize].iter().rev().take_while(|r| r.t_us + STORES + facts.stores > t);
    recent.into_iter().all(|r| is_calm(&r.what))
}

/// It changes nothing about messages on their way.
fn is_calm(what: &What) -> bool {
    const READS: [&str; 9] = [
        "delivery.list",
        "status",
        "channels.status",
        "health",
        "sessions.list",
        "chat.history",
        "system-presence",
        "logs.tail",
        "config.get",
    ];
    match what {
        What::Telegram { method, .. } => !method.starts_with("send"),
        What::Sent { frame, .. } => {
            frame["method"].as_str().is_some_and(|m| READS.contains(&m) && sheet::method(m).is_some())
        }
        What::Received { frame, .. } => {
            frame["type"] == "res" || matches!(frame["event"].as_str(), Some("tick" | "presence" | "health"))
        }
        What::Gauge { .. } | What::Probe { always: true, .. } | What::Note { .. } | What::Told { .. } => true,
        _ => false,
    }
}
