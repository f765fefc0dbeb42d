//! What goes from a conversation, and what stays of it: a compaction keeps its last lines, as many as it says, and everything that
//! there was lies in a file; a session that is deleted leaves such a file, or its transcript if that is wished; one that begins anew
//! leaves its transcript in the database (docs/storage.md).
//!
//! Judged where somebody has looked at the conversation right before, and nothing happened in between.

use serde_json::Value;

use super::{
    conn::{Answer, Conn, Request},
    facts::Facts,
    findings::Findings,
};
use crate::history::{
    What,
    parts::{Part, of_messages},
};

/// A look shows so many messages at most, if it asks for no number.
const SHOWN: u64 = 200;

/// A look at a whole conversation.
struct Look<'a> {
    session: String,
    request: &'a Request<'a>,
    answer: Answer<'a>,
    messages: &'a [Value],
}

impl Look<'_> {
    fn id(&self) -> &str {
        self.answer.frame["payload"]["sessionId"].as_str().unwrap_or_default()
    }
    fn parts(&self) -> Vec<Part> {
        of_messages(self.messages.iter())
    }
}

/// Checks every change after which something is gone.
pub fn check(conns: &[Conn], facts: &Facts, out: &mut Findings) {
    // What lies does not count, and by a clock that jumped what was archived may be old.
    let lies = |kind: &str| matches!(kind, "lost_write" | "bit_flip" | "clock_jump");
    if facts.faults.iter().any(|f| lies(f.kind)) {
        return;
    }
    let looks = looks(conns);
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in &c.requests {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let Some(session) = r.params["key"].as_str().map(|key| hello.session(key)) else { continue };
            let before = looks.iter().rfind(|l| l.session == session && l.answer.at.i < r.at.i);
            let Some(before) = before.filter(|l| is_quiet(facts, l.request.at.i, answer.at.i, r)) else { continue };
            let judged = match r.method {
                "sessions.compact" => compacted(before, r, &answer, &looks, facts),
                "sessions.delete" => deleted(before, r, &answer, facts),
                "sessions.reset" => lies_in_database(before, facts),
                _ => Ok(()),
            };
            if let Err(why) = judged {
                out.broken("archives", answer.at.i, format!("{}: {} of {session}: {why}", c.name, r.method));
            }
        }
    }
}

fn looks<'a>(conns: &'a [Conn<'a>]) -> Vec<Look<'a>> {
    let mut looks = Vec::new();
    for c in conns {
        let Some(hello) = &c.hello else { continue };
        for r in c.requests.iter().filter(|r| r.method == "chat.history") {
            let Some(answer) = r.first.filter(Answer::ok) else { continue };
            let messages = answer.frame["payload"]["messages"].as_array().map_or(&[][..], Vec::as_slice);
            let whole = (messages.len() as u64) < r.params["limit"].as_u64().unwrap_or(SHOWN);
            if let (true, Some(key)) = (whole, r.params["sessionKey"].as_str()) {
                looks.push(Look { session: hello.session(key), request: r, answer, messages });
            }
        }
    }
    looks.sort_by_key(|l| l.answer.at.i);
    looks
}

/// Between the two records nobody says or changes anything, but by this request.
fn is_quiet(facts: &Facts, from: u64, to: u64, by: &Request) -> bool {
    const READS: [&str; 4] = ["chat.history", "sessions.list", "sessions.preview", "sessions.resolve"];
    facts.history[from as usize..=to as usize].iter().all(|r| match &r.what {
        What::Sent { frame, .. } => {
            r.i == by.at.i || frame["type"] != "req" || READS.iter().any(|m| frame["method"] == *m)
        }
        What::Received { frame, .. } => !matches!(frame["event"].as_str(), Some("agent" | "chat")),
        What::Update { .. } | What::Model { .. } | What::Process { .. } | What::Elsewhere { .. } => false,
        _ => true,
    })
}

fn compacted(before: &Look, r: &Request, a: &Answer, looks: &[Look], facts: &Facts) -> Result<(), String> {
    let payload = &a.frame["payload"];
    let there = before.messages.len() as u64;
    let most = r.params["maxLines"].as_u64().unwrap_or(u64::MAX);
    let after = looks.iter().find(|l| l.session == before.session && l.request.at.i > a.at.i);
    let after = after.filter(|l| is_quiet(facts, a.at.i, l.answer.at.i, r) && l.id() == before.id());
    if payload["compacted"] != true {
        if there > most {
            return Err(format!("{there} messages are left as they are, at most {most} were to stay"));
        }
        return match after.filter(|l| l.messages != before.messages) {
            Some(_) => Err("nothing was to be cut, and something is gone".to_owned()),
            None => Ok(()),
        };
    }
    let kept = payload["kept"].as_u64().unwrap_or(0);
    if kept != most {
        return Err(format!("{kept} lines are told as kept, {most} were to stay"));
    }
    if let Some(after) = after {
        let count = after.messages.len() as u64;
        if !before.messages.ends_with(after.messages) {
            return Err("what stays is not the end of what there was".to_owned());
        }
        if count > kept || count < kept.min(there) {
            return Err(format!("{count} messages are left, {kept} lines are told as kept"));
        }
    }
    archived(before, payload["archived"].as_str(), facts)
}

fn deleted(before: &Look, r: &Request, a: &Answer, facts: &Facts) -> Result<(), String> {
    let payload = &a.frame["payload"];
    if payload["deleted"] != true || before.messages.is_empty() {
        return Ok(());
    }
    let files = payload["archived"].as_array().map_or(&[][..], Vec::as_slice);
    if r.params["deleteTranscript"] == false {
        return if files.is_empty() {
            lies_in_database(before, facts)
        } else {
            Err("it was not to be archived".to_owned())
        };
    }
    let mut files = files.iter().filter_map(Value::as_str);
    archived(before, files.next(), facts)
}

/// A file of this path holds, at the end, everything that there was.
fn archived(before: &Look, path: Option<&str>, facts: &Facts) -> Result<(), String> {
    let Some(path) = path else { return Err("no file is told of what is gone".to_owned()) };
    if !is_told_of(facts) {
        return Ok(());
    }
    let held = facts.history.iter().find_map(|r| match &r.what {
        What::Archived { file, parts } if path.ends_with(file.as_str()) => Some(parts),
        _ => None,
    });
    match held {
        None => Err(format!("there is no file {path}")),
        Some(parts) if parts.ends_with(&before.parts()) => Ok(()),
        Some(parts) => Err(format!("{path} has {} parts of {}, or others", parts.len(), before.parts().len())),
    }
}

/// Its transcript lies in the database at the end.
fn lies_in_database(before: &Look, facts: &Facts) -> Result<(), String> {
    if before.messages.is_empty() || !is_told_of(facts) {
        return Ok(());
    }
    let held = facts.history.iter().find_map(|r| match &r.what {
        What::Stored { id, parts, .. } if id == before.id() => Some(parts),
        _ => None,
    });
    match held {
        None => Err(format!("the transcript {} is gone", before.id())),
        Some(parts) if parts.ends_with(&before.parts()) => Ok(()),
        Some(_) => Err(format!("the transcript {} is another one", before.id())),
    }
}

/// What lies in files and in the database at the end is known.
fn is_told_of(facts: &Facts) -> bool {
    facts.history.iter().any(|r| matches!(&r.what, What::Stored { .. } | What::Archived { .. }))
}
