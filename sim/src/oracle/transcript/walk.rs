//! Reads a list of what was said from where it goes on after what was known, and tells what each part of it is.

use serde_json::Value;

use super::inputs::{Inputs, Note, SUMMED_UP, Said};
use crate::history::parts::{Part, begins, shortened};

/// What a model was told to answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A text.
    Text(String),
    /// A call of this tool with these arguments.
    Call(String, String),
    /// Nothing that would be kept.
    Nothing,
}

impl Answer {
    /// Of a step of the fake model, as JSON, and whether it comes to its proper end.
    pub fn of(step: &str) -> (Self, bool) {
        let step: Value = serde_json::from_str(step).unwrap_or_default();
        let text = |text: String| if text.trim().is_empty() { Self::Nothing } else { Self::Text(text) };
        match step["kind"].as_str() {
            Some("say") => (text(step["text"].as_str().unwrap_or_default().to_owned()), true),
            Some("words") => {
                let n = step["n"].as_u64().unwrap_or(0);
                let whole = step["hang"] != true && step["cut"] != true;
                let words: Vec<String> = (1..=n).map(|i| format!("w{i} ")).collect();
                (text(words.concat()), whole)
            }
            Some("broken") => {
                let words = (1..=step["n"].as_u64().unwrap_or(0)).map(|i| format!("w{i} "));
                (text(words.collect()), false)
            }
            Some("tool") => {
                let args = step["args"].as_str().unwrap_or_default();
                let args = if args.trim().is_empty() { "{}" } else { args };
                let args: Value = serde_json::from_str(args).unwrap_or_default();
                let args = if args.is_object() { args } else { Value::Object(serde_json::Map::new()) };
                let name = step["name"].as_str().unwrap_or_default().to_owned();
                (Self::Call(name, crate::history::parts::canonical(&args)), true)
            }
            _ => (Self::Nothing, false),
        }
    }

    /// This part may be a beginning of it.
    fn begins_with(&self, text: &str) -> bool {
        matches!(self, Self::Text(whole) if begins(whole, text))
    }
}

/// What a run has put before the model and got from it, as far as it is known.
#[derive(Debug, Clone)]
pub struct Turn {
    /// From its first message on.
    pub own: Vec<Part>,
    /// What was stored when it began, where the session has begun anew since.
    pub on: Option<Vec<Part>>,
    /// It ended while the session began anew: it is stored in the old transcript or in the new one.
    pub either: bool,
    /// To the last request.
    pub answer: Answer,
    /// That answer comes to its end by itself.
    pub whole: bool,
    /// The last request: record and time.
    pub at: (u64, u64),
    /// Time of the first request.
    pub began: u64,
    /// How often these very words were put before the model without an answer.
    pub failed: usize,
    /// What the last of those requests got, as JSON.
    pub step: Value,
    /// What is answered.
    pub inputs: Vec<usize>,
}

/// How much of a turn's answer stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Used {
    /// The turn does not.
    No,
    /// This much of the answer.
    Partly(String),
    /// All of it.
    Whole,
}

/// What was read.
#[derive(Debug)]
pub struct Walk {
    /// The turn.
    pub used: Used,
    /// Notes that were met, by their places among all.
    pub notes: Vec<usize>,
    /// Where the last words of users begin: everything after them is theirs.
    pub tail: usize,
}

/// Where it does not go on as it should, and why.
pub type Wrong = (usize, String);

/// Reads `parts` from `from` on. `free` are the notes that may stand there. `crashed`: a process ended that had the turn.
pub fn walk(
    session: &str,
    parts: &[Part],
    from: usize,
    turn: Option<&Turn>,
    free: &[usize],
    crashed: bool,
    inputs: &Inputs,
) -> Result<Walk, Wrong> {
    let mut read = Walk { used: Used::No, notes: vec![], tail: from };
    // After words that nobody is known to have said anything may follow.
    let mut loose = false;
    let mut at = from;
    while at < parts.len() {
        if let Some(turn) = turn.filter(|t| read.used == Used::No && parts[at..].starts_with(&t.own)) {
            at += turn.own.len();
            let (used, more) = answered(turn, &parts[at..]);
            (read.used, at) = (used, at + more);
            read.tail = at;
            loose = false;
            continue;
        }
        match &parts[at] {
            Part::User(text) => match inputs.what(text, session) {
                Said::Here(_) => loose = false,
                Said::Elsewhere(other) => return Err((at, format!("{text:?} was said in {other}"))),
                Said::Bare => return Err((at, format!("{text:?} stands there without its sender"))),
                Said::Other => loose |= !is_own(text),
            },
            Part::Image(_) => {}
            Part::Assistant(text) => {
                let is_it = |n: &&usize| !read.notes.contains(n) && inputs.notes[**n].is(text);
                // Of two with the same words the one that was confirmed is wanted, the other may be.
                let told = |n: &&usize| is_it(n) && inputs.notes[**n].told.is_some();
                if let Some(note) = free.iter().find(told).or_else(|| free.iter().find(is_it)) {
                    read.notes.push(*note);
                } else if let Some(turn) =
                    turn.filter(|t| crashed && read.used == Used::No && t.answer.begins_with(text))
                {
                    // What a crash left of a run: what was asked, and how far the last checkpoint had come.
                    let Answer::Text(whole) = &turn.answer else { return Err((at, String::new())) };
                    let is_whole = *text == shortened(whole);
                    read.used = if is_whole { Used::Whole } else { Used::Partly(text.clone()) };
                } else if !loose && !at.checked_sub(1).is_some_and(|n| inputs.is_echo(session, &parts[n], text)) {
                    return Err((at, format!("{text:?} was answered to nothing in it")));
                }
                read.tail = at + 1;
            }
            Part::Call { name, .. } if !loose => {
                return Err((at, format!("a call of {name:?} belongs to nothing in it")));
            }
            Part::Result { id, .. } if !loose => {
                return Err((at, format!("the result of {id:?} belongs to nothing in it")));
            }
            _ => read.tail = at + 1,
        }
        at += 1;
    }
    Ok(read)
}

/// How much of the answer follows, and of how many parts that is.
fn answered(turn: &Turn, rest: &[Part]) -> (Used, usize) {
    match (&turn.answer, rest) {
        (Answer::Nothing, _) => (Used::Whole, 0),
        (Answer::Text(whole), [Part::Assistant(text), ..]) if *text == shortened(whole) => (Used::Whole, 1),
        (Answer::Text(whole), [Part::Assistant(text), ..]) if begins(whole, text) => (Used::Partly(text.clone()), 1),
        (Answer::Call(tool, args), [Part::Call { id, name, arguments }, Part::Result { id: of, .. }, ..])
            if name == tool && arguments == args && id == of =>
        {
            (Used::Whole, 2)
        }
        _ => (Used::Partly(String::new()), 0),
    }
}

/// What a run begins with: without what was noted for the session then, which is in memory only.
pub fn words(own: &[Part]) -> impl Iterator<Item = &Part> {
    let said = own.iter().take_while(|p| matches!(p, Part::User(_) | Part::Image(_)));
    said.filter(|p| !matches!(p, Part::User(text) if text.starts_with(NOTED)))
}

/// How notes of the gateway begin that come before what a user says.
const NOTED: &str = "System: [";

/// Lines that the gateway itself puts into a message.
fn is_own(text: &str) -> bool {
    text.starts_with(NOTED)
        || text.starts_with("[Messages that came while you were busy]")
        || text.starts_with("---\nQueued #")
        || text.contains(SUMMED_UP)
}

/// Notes of a session that are known to be there by `until` and were not met, nor are among those that may stand where they
/// are not seen.
pub fn missing<'n>(notes: &'n [Note], free: &[usize], met: &[usize], unseen: &[usize], until: u64) -> Option<&'n Note> {
    let lost = free.iter().filter(|n| !met.contains(n) && !unseen.contains(n)).map(|n| &notes[*n]);
    lost.into_iter().find(|n| n.told.is_some_and(|t| t < until))
}
