//! Files that come in: of a person's message one picture, one line that says where its file is kept, or one that says why
//! there is none; of a client's request its pictures. The model is given them behind the words, in their order.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::MOST;
use crate::{
    history::{
        What,
        parts::{self, Part},
    },
    oracle::{
        conn::{Conn, Request},
        facts::Facts,
        findings::Findings,
        telegram::{Call, quoted},
    },
};

/// Bytes of one attachment of a request.
const ATTACHMENT: usize = 5_000_000;

/// What must become of the attachments of a request.
type Wanted = Result<Vec<String>, &'static str>;

/// Checks every request to the model, and what is stored.
pub fn check(conns: &[Conn], facts: &Facts, calls: &[Call], out: &mut Findings) {
    let mut files: BTreeMap<i64, &Value> = BTreeMap::new();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for r in facts.history {
        if let What::Update { update, .. } = &r.what
            && let (Some(id), false) = (update["message_id"].as_i64(), update["file"].is_null())
        {
            files.insert(id, &update["file"]);
            known.extend(update["file"]["picture"].as_str().map(str::to_owned));
        }
    }
    let mut asked: Vec<(&str, Vec<String>)> = Vec::new();
    for (c, r) in conns.iter().flat_map(|c| c.requests.iter().map(move |r| (c, r))) {
        if !matches!(r.method, "agent" | "chat.send") || r.params["attachments"].is_null() {
            continue;
        }
        let wanted = wanted(r);
        known.extend(wanted.iter().flatten().cloned());
        let answer = r.first.filter(|a| a.ok() || a.code() == "INVALID_REQUEST");
        match (&wanted, answer) {
            (Err(code), Some(a)) if a.reason() != *code => {
                let text = format!("{}: {} got {}, expected {code}", c.name, r.method, a.reason());
                out.broken("media", a.at.i, text);
            }
            (Ok(_), Some(a)) if a.reason().ends_with("ATTACHMENTS") || a.reason().ends_with("ATTACHMENT") => {
                out.broken("media", a.at.i, format!("{}: {} got {}", c.name, r.method, a.reason()));
            }
            (Ok(pictures), _) => asked.extend(r.params["message"].as_str().map(|words| (words, pictures.clone()))),
            _ => {}
        }
    }
    let kept: BTreeMap<&str, &str> = facts
        .history
        .iter()
        .filter_map(|r| match &r.what {
            What::Kept { file, sum, .. } => Some((file.as_str(), sum.as_str())),
            _ => None,
        })
        .collect();
    for r in facts.history {
        let (What::Given { parts, .. } | What::Stored { parts, .. }) = &r.what else { continue };
        for part in parts {
            if let Part::Image(sum) = part
                && !known.contains(sum)
            {
                out.broken("media", r.i, "the model is given a picture that nobody sent");
            }
        }
        for said in parts.split(|p| !matches!(p, Part::User(_) | Part::Image(_))) {
            if let Err(why) = of_person(said, &files, &kept, calls, facts) {
                out.broken("media", r.i, why);
            }
            if let Err(why) = of_client(said, &asked) {
                out.broken("media", r.i, why);
            }
        }
    }
}

/// The pictures of a request, in order, as requests to models show them; or the code of its refusal.
fn wanted(r: &Request) -> Wanted {
    let list = r.params["attachments"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.len() > MOST {
        return Err("TOO_MANY_ATTACHMENTS");
    }
    let mut pictures = Vec::new();
    for item in list {
        let text = |key: &str| item[key].as_str();
        let Some(content) = text("content").or(text("data")) else { continue };
        let (mime, data) = match content.strip_prefix("data:").and_then(|c| c.split_once(";base64,")) {
            Some((mime, data)) => (Some(mime), data),
            None => (text("mimeType").or(text("type")), content),
        };
        if !mime.is_some_and(|m| m.starts_with("image/")) {
            continue;
        }
        match STANDARD.decode(data.trim()) {
            Ok(bytes) if bytes.len() <= ATTACHMENT => pictures.push(parts::picture_sum(&STANDARD.encode(bytes))),
            _ => return Err("BAD_ATTACHMENT"),
        }
    }
    Ok(pictures)
}

/// Of each message with a file that stands in what was said at a time, one thing, in their order.
fn of_person(
    said: &[Part],
    files: &BTreeMap<i64, &Value>,
    kept: &BTreeMap<&str, &str>,
    calls: &[Call],
    facts: &Facts,
) -> Result<(), String> {
    let words = |p: &Part| match p {
        Part::User(text) => quoted(text).collect::<Vec<_>>(),
        _ => vec![],
    };
    let messages: Vec<(i64, &Value)> =
        said.iter().flat_map(words).filter_map(|id| Some((id, *files.get(&id)?))).collect();
    // Of a message that is told in a line among others nothing is enclosed.
    let in_full = !said.iter().any(|p| matches!(p, Part::User(text) if text.contains("too many to be kept")));
    if messages.is_empty() || !in_full {
        return Ok(());
    }
    let is_file = |p: &&Part| match p {
        Part::Image(_) => true,
        Part::User(text) => text.starts_with("[file ") || text.starts_with("[attachment "),
        _ => false,
    };
    let mut given: Vec<&Part> = said.iter().filter(is_file).collect();
    // Clients of the same session may have sent pictures, too.
    let mine: BTreeSet<&str> = messages.iter().filter_map(|(_, f)| f["picture"].as_str()).collect();
    given.retain(|p| !matches!(p, Part::Image(sum) if !mine.contains(sum.as_str())));
    if given.len() != messages.len() {
        return Err(format!("of {} messages with a file the model is given {} files", messages.len(), given.len()));
    }
    for ((id, file), part) in messages.iter().zip(given) {
        is_it(file, part, kept, calls, facts).map_err(|why| format!("the file of message {id}: {why}"))?;
    }
    Ok(())
}

/// This part is that file, or says rightly that there is none.
fn is_it(file: &Value, part: &Part, kept: &BTreeMap<&str, &str>, calls: &[Call], facts: &Facts) -> Result<(), String> {
    let text = |key: &str| file[key].as_str().unwrap_or_default();
    let line = match part {
        Part::Image(sum) if text("picture") == sum => return Ok(()),
        Part::User(line) => line,
        _ => return Err("another one is given".to_owned()),
    };
    if line.starts_with("[attachment ") {
        let of_it =
            |c: &&Call| c.params["file_id"] == file["id"] || c.method == "FILE" && c.params["path"] == file["path"];
        let failed = calls.iter().filter(of_it).any(|c| c.status() != 200);
        let link = facts.faults.iter().any(|f| f.is_telegram() && (f.is_network() || f.kind == "telegram_drop"));
        let there = file["large"] != true && !failed && !link;
        return if there { Err(format!("it is there, and the model is told {line:?}")) } else { Ok(()) };
    }
    if file["large"] == true {
        return Err("it is too large, and is kept".to_owned());
    }
    if !text("picture").is_empty() {
        return Err(format!("it is a picture, and the model is told {line:?}"));
    }
    if line.ends_with("could not be kept]") {
        let fails = facts.faults.iter().any(|f| f.kind == "disk");
        return if fails { Ok(()) } else { Err("it is not kept".to_owned()) };
    }
    let place = line.strip_prefix("[file ").and_then(|l| l.strip_suffix(']')).and_then(|l| l.rsplit_once(": "));
    let Some((name, path)) = place else { return Err(format!("the model is told {line:?}")) };
    if !text("name").is_empty() && name != text("name") {
        return Err(format!("its name is {:?}, the model is told {name:?}", text("name")));
    }
    // Where nothing is told of what is kept (the end was not in good order) there is nothing to compare with.
    let lies = facts.faults.iter().any(|f| matches!(f.kind, "disk" | "lost_write" | "bit_flip"));
    if kept.is_empty() || lies {
        return Ok(());
    }
    match path.strip_prefix("/state/").and_then(|p| kept.get(p)) {
        Some(sum) if *sum == text("sum") => Ok(()),
        Some(sum) => Err(format!("what is kept in {path} has the sum {sum}, expected {}", text("sum"))),
        None => Err(format!("nothing is kept in {path}")),
    }
}

/// The words of a request with pictures are followed by these.
fn of_client(said: &[Part], asked: &[(&str, Vec<String>)]) -> Result<(), String> {
    for (words, pictures) in asked {
        let begins = |p: &Part| matches!(p, Part::User(text) if text == words || text.ends_with(&format!(" {words}")));
        let Some(at) = said.iter().position(begins) else { continue };
        let behind = said[at + 1..].iter().map_while(|p| match p {
            Part::Image(sum) => Some(sum),
            _ => None,
        });
        if !behind.clone().eq(pictures) {
            let text = format!("{words:?} came with {} pictures, behind it are {}", pictures.len(), behind.count());
            return Err(format!("{text}, or others"));
        }
    }
    Ok(())
}
