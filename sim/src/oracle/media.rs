//! Files (section 8 of agent-chat-channels.md; S16, S29). What `send` encloses goes to its chat as it is, in the order asked for,
//! the words as the caption of the first one where they fit, else behind the last one; what may not be sent is refused with the
//! right code and leaves no trace; nobody asked for anything else. What comes in is judged by [`inbound`].

mod inbound;

use serde_json::Value;

use super::{
    Expect,
    conn::{Answer, Conn, Request},
    facts::Facts,
    findings::Findings,
    telegram::{self, Call, places, plain},
};
use crate::{
    files::{self, Media},
    history::What,
};

/// Telegram's limit for a caption, in UTF-16 units.
const CAPTION: usize = 1024;
/// Files of one `send`, and attachments of one request.
const MOST: usize = 10;

/// A `send` with files, however often it was asked for with its key.
struct Ask<'a> {
    client: &'a str,
    whose: (&'a str, &'a str),
    first: &'a Request<'a>,
    answers: Vec<Answer<'a>>,
    place: String,
    words: &'a str,
    wanted: Vec<Media>,
}

/// A call that brings a file.
struct Upload<'c> {
    call: &'c Call<'c>,
    place: String,
    name: &'c str,
    mime: &'c str,
    sum: &'c str,
}

/// Checks them all.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let uploads: Vec<Upload> = calls.iter().filter_map(upload).collect();
    let asks = asks(conns);
    for upload in &uploads {
        if let Err(why) = is_asked_for(upload, &asks) {
            out.broken("media", upload.call.at.i, format!("{} to {}: {why}", upload.name, upload.place));
        }
    }
    for ask in &asks {
        answers(ask, facts, out);
        if ask.refusal().is_none() && is_alone(ask, &asks) {
            went_out(ask, &uploads, &calls, facts, expect, out);
        }
    }
    for r in facts.history {
        if let What::Fetched { from, path } = &r.what
            && from != files::OUTSIDE
        {
            out.broken("media", r.i, format!("{path} was fetched from {from}, which is not on the internet"));
        }
    }
    left(facts, out);
    inbound::check(conns, facts, &calls, out);
}

impl Ask<'_> {
    /// Why it must be refused: the codes that say so.
    fn refusal(&self) -> Option<&'static [&'static str]> {
        if self.wanted.len() > MOST {
            return Some(&["TOO_MANY_MEDIA"]);
        }
        self.wanted.iter().find_map(|media| match media {
            Media::Refused(codes) => Some(*codes),
            Media::File(..) => None,
        })
    }
    fn files(&self) -> impl Iterator<Item = (&str, &str, &[u8])> {
        self.wanted.iter().filter_map(|media| match media {
            Media::File(name, mime, content) => Some((&name[..], &mime[..], &content[..])),
            Media::Refused(_) => None,
        })
    }
}

fn asks<'a>(conns: &'a [Conn<'a>]) -> Vec<Ask<'a>> {
    let mut asks: Vec<Ask> = Vec::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| r.method == "send" && r.params["channel"] == "telegram") {
            let many = r.params["mediaUrls"].as_array().into_iter().flatten();
            let wanted: Vec<Media> =
                r.params.get("mediaUrl").into_iter().chain(many).filter_map(Value::as_str).map(files::media).collect();
            let (false, Some(key)) = (wanted.is_empty(), r.key()) else { continue };
            let whose = (hello.identity(), key);
            match asks.iter_mut().find(|a| a.whose == whose) {
                Some(known) => known.answers.extend(r.first),
                None => asks.push(Ask {
                    client: c.client,
                    whose,
                    first: r,
                    answers: r.first.into_iter().collect(),
                    place: places::of_target(r.params["to"].as_str().unwrap_or_default()),
                    words: r.params["message"].as_str().unwrap_or_default(),
                    wanted,
                }),
            }
        }
    }
    asks
}

/// Reads `<file NAME MIME 8B SUM>`.
fn upload<'c>(call: &'c Call<'c>) -> Option<Upload<'c>> {
    let field = match call.method {
        "sendPhoto" => "photo",
        "sendDocument" => "document",
        _ => return None,
    };
    let inner = call.params[field].as_str()?.strip_prefix("<file ")?.strip_suffix('>')?;
    let mut words = inner.split(' ');
    let (name, mime) = (words.next()?, words.next()?);
    Some(Upload { call, place: places::of_call(call), name, mime, sum: words.nth(1)? })
}

/// Somebody may send this file there, and it has that content.
fn is_asked_for(upload: &Upload, asks: &[Ask]) -> Result<(), String> {
    let here = asks.iter().filter(|a| a.place == upload.place && a.first.at.i < upload.call.at.i);
    let asked: Vec<_> = here.filter(|a| a.files().any(|(name, ..)| name == upload.name)).collect();
    if asked.is_empty() {
        return Err("nobody asked for this file there".to_owned());
    }
    if asked.iter().all(|a| a.refusal().is_some()) {
        return Err("it goes out though what it was to go with must be refused".to_owned());
    }
    let mut same = asked.iter().flat_map(|a| a.files()).filter(|(name, ..)| *name == upload.name);
    let as_it_is = |(_, mime, content): (&str, &str, &[u8])| mime == upload.mime && fakes::sum(content) == upload.sum;
    if same.any(as_it_is) { Ok(()) } else { Err(format!("not as it is: {} {}", upload.mime, upload.sum)) }
}

/// No other `send` names one of its files for the same place: what comes there of them is its own.
fn is_alone(ask: &Ask, asks: &[Ask]) -> bool {
    let shares = |other: &Ask| other.files().any(|(name, ..)| ask.files().any(|(mine, ..)| mine == name));
    !asks.iter().any(|other| other.whose != ask.whose && other.place == ask.place && shares(other))
}

fn answers(ask: &Ask, facts: &Facts, out: &mut Findings) {
    let client = ask.client;
    for answer in &ask.answers {
        let about_media = answer.reason().starts_with("MEDIA_") || answer.reason() == "TOO_MANY_MEDIA";
        let disturbed = || {
            facts.ended_between(ask.first.at.t, answer.at.t)
                || facts.faults.iter().any(|f| {
                    (f.kind.starts_with("disk") || f.target == files::OUTSIDE || f.target == "gateway")
                        && f.from <= answer.at.t
                        && f.to >= ask.first.at.t
                })
        };
        let why = match ask.refusal() {
            Some(_) if answer.ok() => Some("was taken though its files may not be sent".to_owned()),
            Some(codes) if !codes.contains(&answer.reason()) && (about_media || !disturbed()) => {
                Some(format!("was refused as {}, expected {codes:?}", answer.reason()))
            }
            None if about_media && !disturbed() => {
                Some(format!("was refused as {} though its files are there and may be sent", answer.reason()))
            }
            _ => None,
        };
        if let Some(why) = why {
            out.broken("media", answer.at.i, format!("{client}: the send {} {why}", ask.whose.1));
        }
    }
}

/// What has arrived of it: its files in their order, each once, the words with the first or behind the last.
fn went_out(ask: &Ask, uploads: &[Upload], calls: &[Call], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let is_own = |u: &&Upload| u.place == ask.place && ask.files().any(|(name, ..)| name == u.name);
    let own: Vec<&Upload> = uploads.iter().filter(is_own).collect();
    let key = ask.whose.1;
    let fits = ask.words.encode_utf16().count() <= CAPTION && !ask.words.trim().is_empty();
    let first = ask.files().next().map(|(name, ..)| name).unwrap_or_default();
    for u in &own {
        let has = u.call.params["caption"].as_str().map(plain).unwrap_or_default();
        let wanted = if fits && u.name == first { ask.words } else { "" };
        if has.trim() != wanted.trim() && has.trim() != "" || has.is_empty() && u.name == first && fits {
            out.broken(
                "media",
                u.call.at.i,
                format!("the send {key}: {} has the caption {has:?}, expected {wanted:?}", u.name),
            );
        }
        let picture = matches!(u.mime, "image/jpeg" | "image/png" | "image/webp");
        let refused = |p: &&&Upload| p.name == u.name && p.call.status() == 400 && p.call.at.i < u.call.at.i;
        if u.call.method == "sendPhoto" && !picture {
            out.broken("media", u.call.at.i, format!("the send {key}: {} is no picture and goes as one", u.name));
        }
        if u.call.method == "sendDocument" && picture && !own.iter().any(|p| refused(&p)) {
            out.broken("media", u.call.at.i, format!("the send {key}: {} is a picture and does not go as one", u.name));
        }
    }
    for u in own.iter().filter(|u| u.call.method == "sendPhoto" && u.call.status() == 400) {
        let as_document = own.iter().any(|o| o.name == u.name && o.call.method == "sendDocument");
        let given_up = ask.answers.iter().find(|a| a.reason() == "DELIVERY_REFUSED").filter(|_| !as_document);
        if let Some(told) = given_up {
            let text = format!("the send {key}: {}, refused as a picture, does not go as a document", u.name);
            out.broken("media", told.at.i, text);
        }
    }
    let arrived: Vec<&&Upload> = own.iter().filter(|u| u.call.status() == 200).collect();
    let again = is_sent_again(ask, facts, expect);
    let mut left = ask.files().map(|(name, ..)| name);
    for u in &arrived {
        if !again && !left.any(|name| name == u.name) {
            let at = u.call.at.i;
            out.broken("media", at, format!("the send {key}: {} goes out of its turn or once more", u.name));
            return;
        }
    }
    let Some(told) = ask.answers.iter().find(|a| a.ok()) else { return };
    let before = |u: &&&&Upload| u.call.end.is_some_and(|(end, _)| end.i < told.at.i);
    let count = arrived.iter().filter(before).count();
    if count < ask.wanted.len() {
        let text = format!("the send {key} is told as sent when {count} of {} files have arrived", ask.wanted.len());
        out.broken("media", told.at.i, text);
    }
    if !fits && !ask.words.trim().is_empty() && !again {
        let since = own.last().map_or(ask.first.at.i, |u| u.call.at.i);
        let behind = calls.iter().filter(|c| {
            c.method == "sendMessage" && c.status() == 200 && places::of_call(c) == ask.place && c.at.i > since
        });
        let behind: String = behind.filter(|c| c.at.i < told.at.i).map(|c| plain(c.words())).collect();
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        if !bare(&behind).contains(&bare(ask.words)) {
            out.broken("media", told.at.i, format!("the send {key}: its words did not come behind its files"));
        }
    }
}

/// Its parts may arrive twice: somebody asked for that, or the configuration does and nobody knew of the first time.
fn is_sent_again(ask: &Ask, facts: &Facts, expect: &Expect) -> bool {
    let asked = |what: &What| match what {
        What::Sent { frame, .. } => frame["method"] == "delivery.retry",
        What::Update { update, .. } => update["text"].as_str().is_some_and(|t| t.starts_with("/resend")),
        _ => false,
    };
    let since = facts.history.iter().filter(|r| r.i > ask.first.at.i);
    since.into_iter().any(|r| asked(&r.what))
        || expect.resends
            && (facts.ended_between(ask.first.at.t, facts.end)
                || facts.faults.iter().any(|f| f.is_telegram() && (f.is_network() || f.kind == "telegram_drop")))
}

/// Files of messages that are over are gone at the end.
fn left(facts: &Facts, out: &mut Findings) {
    // Who cannot write cannot remove.
    if facts.faults.iter().any(|f| matches!(f.kind, "disk" | "lost_write" | "bit_flip")) {
        return;
    }
    for r in facts.history {
        if let What::Kept { file, used: false, .. } = &r.what
            && file.starts_with("media/outbound/")
        {
            out.broken("media", r.i, format!("{file} is left behind by a message that is over"));
        }
    }
}
