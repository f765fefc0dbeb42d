//! What a chat is shown of an answer is what the model wrote: the same text in the same order, bold where it was bold, code
//! where it was code, links to where they led, lists that count up, in messages that Telegram takes (section 10).
//!
//! Judged are answers of paragraphs, headings, lists, fences, code, emphasis and links; one with anything else is passed over.

mod html;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Expect,
    facts::{Facts, Mark},
    findings::Findings,
    telegram::{self, places},
};
use crate::history::What;

/// So many characters at its beginning say which answer a message is of.
const BEGINNING: usize = 8;
/// Its messages have gone out by then where nothing disturbs them, in microseconds.
const SOON: u64 = 30_000_000;

/// How a character is shown; several at once are joined by `|`.
pub mod style {
    pub const BOLD: u8 = 1;
    pub const ITALIC: u8 = 2;
    pub const STRIKE: u8 = 4;
    pub const CODE: u8 = 8;
    pub const BLOCK: u8 = 16;
    pub const LINK: u8 = 32;
    /// Of a heading, which every service shows in its own way.
    pub const ANY: u8 = 128;
}

/// A text as it is seen: characters other than white space with their styles, and where its links lead.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Seen {
    pub shown: Vec<(char, u8)>,
    pub links: Vec<String>,
}

impl Seen {
    fn add(&mut self, text: &str, style: u8) {
        self.shown.extend(text.chars().filter(|c| !c.is_whitespace()).map(|c| (c, style)));
    }

    /// The first place where `other` differs, as far as both go.
    fn differs(&self, other: &Self) -> Option<usize> {
        let same = |(a, b): (&(char, u8), &(char, u8))| a.0 == b.0 && (a.1 == b.1 || a.1 & style::ANY != 0);
        self.shown.iter().zip(&other.shown).position(|pair| !same(pair))
    }

    fn text(&self) -> String {
        self.shown.iter().map(|(c, _)| c).collect()
    }

    fn around(&self, at: usize) -> String {
        self.shown[at.saturating_sub(12)..].iter().take(24).map(|(c, _)| c).collect()
    }
}

/// Checks every answer that went to a chat.
pub fn check(facts: &Facts, expect: &Expect, out: &mut Findings) {
    let calls = telegram::calls(facts);
    let sends: Vec<_> = calls.iter().filter(|c| c.method == "sendMessage" && c.status() == 200).collect();
    for c in &sends {
        let length = html::read(c.words()).map_or(0, |(_, units)| units);
        if c.params["parse_mode"] == "HTML" && length > expect.chunk_limit {
            out.broken("markup", c.at.i, format!("{length} units in one message, at most {}", expect.chunk_limit));
        }
    }
    let answers = answers(facts);
    let unread = unread(facts);
    for (n, a) in answers.iter().enumerate() {
        let mine = sends.iter().filter(|c| c.at.i > a.at.i && places::of_call(c) == a.place);
        let texts: Vec<(u64, &str)> = mine.map(|c| (c.at.i, c.words())).collect();
        let undisturbed = facts.faults.is_empty() && facts.lives.len() == 1 && a.at.t + SOON < facts.finish();
        let tried: Vec<_> = (0..texts.len())
            .filter(|from| begins(&a.wanted, texts[*from].1))
            .map(|from| (from, compare(&a.wanted, &texts[from..], undisturbed)))
            .collect();
        if tried.iter().any(|(_, found)| found.is_ok()) {
            continue;
        }
        // Messages that begin alike may be of another answer, word for word.
        let is_of_another = |from: usize| {
            if unread.contains(&letters(&html::read(texts[from].1).unwrap_or_default().0.text())) {
                return true;
            }
            let others = answers.iter().enumerate().filter(|(m, b)| *m != n && b.place == a.place);
            others
                .into_iter()
                .any(|(_, b)| begins(&b.wanted, texts[from].1) && compare(&b.wanted, &texts[from..], false).is_ok())
        };
        let wrong = tried.into_iter().find(|(from, _)| !is_of_another(*from));
        if let Some((_, Err((at, why)))) = wrong {
            out.broken("markup", at, why);
        }
    }
}

/// An answer of the model to somebody in a chat.
struct Answer {
    at: Mark,
    place: String,
    wanted: Seen,
}

/// Those that can be judged.
fn answers(facts: &Facts) -> Vec<Answer> {
    let (mut written, mut answers) = (BTreeMap::new(), Vec::new());
    for r in facts.history {
        match &r.what {
            What::Update { update, .. } => {
                if let Some(id) = update["message_id"].as_i64() {
                    written.insert(id, places::of_update(update));
                }
            }
            What::Model { text, answer, .. } => {
                let answer: Value = serde_json::from_str(answer).unwrap_or_default();
                let place = telegram::quoted(text).last().and_then(|id| written.get(&id));
                let words = answer["text"].as_str().filter(|_| answer["kind"] == "say");
                let (Some(place), Some(wanted)) = (place, words.and_then(markdown::read)) else { continue };
                if wanted.shown.len() >= BEGINNING {
                    answers.push(Answer { at: Mark::of(r), place: place.clone(), wanted });
                }
            }
            _ => {}
        }
    }
    answers
}

/// The letters of answers that cannot be judged.
fn unread(facts: &Facts) -> BTreeSet<String> {
    let of = |r: &crate::history::Record| {
        let What::Model { answer, .. } = &r.what else { return None };
        let answer: Value = serde_json::from_str(answer).ok()?;
        answer["text"].as_str().filter(|text| markdown::read(text).is_none()).map(letters)
    };
    facts.history.iter().filter_map(of).collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// A message begins as this answer does.
fn begins(wanted: &Seen, text: &str) -> bool {
    html::read(text).is_some_and(|(seen, _)| {
        let both = seen.shown.iter().zip(&wanted.shown).take(BEGINNING);
        seen.shown.len() >= BEGINNING && both.into_iter().all(|(a, b)| a.0 == b.0)
    })
}

/// Compares `wanted` with messages, one after the other from the first.
fn compare(wanted: &Seen, texts: &[(u64, &str)], whole: bool) -> Result<(), (u64, String)> {
    let seen = |text: &str| html::read(text).map(|(seen, _)| seen);
    let (at, mut all) = (texts.first().map_or(0, |(at, _)| *at), Seen::default());
    let mut last = "";
    for (_, text) in texts {
        // The same words at once again were sent again.
        if *text == last {
            continue;
        }
        last = text;
        let Some(more) = seen(text) else { return Err((at, format!("no markup that Telegram takes: {text}"))) };
        all.shown.extend(more.shown);
        all.links.extend(more.links);
        if let Some(n) = wanted.differs(&all) {
            let how = if wanted.shown[n].0 == all.shown[n].0 { " in another style" } else { "" };
            let (wanted, got) = (wanted.around(n), all.around(n));
            return Err((at, format!("the model wrote ...{wanted}..., the chat is shown{how} ...{got}...")));
        }
        if all.shown.len() >= wanted.shown.len() {
            break;
        }
    }
    if all.shown.len() != wanted.shown.len() && (whole || all.shown.len() > wanted.shown.len()) {
        let (got, wanted) = (all.shown.len(), wanted.shown.len());
        return Err((at, format!("the chat is shown {got} characters of the {wanted} that the model wrote")));
    }
    // A link that is cut by the end of a message leads there twice.
    all.links.dedup();
    let mut links = wanted.links.clone();
    links.dedup();
    if all.shown.len() == wanted.shown.len() && all.links != links {
        return Err((at, format!("links lead to {:?}, the model wrote {links:?}", all.links)));
    }
    Ok(())
}
