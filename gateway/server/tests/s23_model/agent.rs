//! A model that tells all it knows and does all it is told: its replies hold the marker of every text in the request, and
//! it calls the tool that a text asks for, offered or not. Each request is checked as it comes.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use fakes::http;
use openclaw_platform::Platform;
use openclaw_protocol::message::Message;
use openclaw_server::gateway::Gateway;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    books::{Ask, Books, Text, mark, marks},
    rules::{Class, MAIN},
};

/// How long the model thinks about a text that it takes its time over.
const SLOW: Duration = Duration::from_secs(4);
/// Messages of a transcript that are looked at.
const WHOLE: usize = 10_000;

/// The fake.
pub struct Agent {
    books: Arc<Mutex<Books>>,
    gateway: Mutex<Weak<Gateway>>,
    /// Session ids that there ever were: a session that was begun anew has an earlier transcript.
    ids: Mutex<Vec<(String, String)>>,
}

/// What a request is answered with.
enum Answer {
    Text(String),
    Call(&'static str, Value),
}

impl Agent {
    pub fn new(books: Arc<Mutex<Books>>) -> Arc<Self> {
        Arc::new(Self { books, gateway: Mutex::default(), ids: Mutex::default() })
    }

    /// The gateway whose transcripts it looks at.
    pub fn look_at(&self, gateway: &Arc<Gateway>) {
        *self.gateway.lock().unwrap() = Arc::downgrade(gateway);
    }

    /// Answers on this port until `stop`.
    pub async fn serve(self: &Arc<Self>, platform: &Platform, port: u16, stop: CancellationToken) {
        let agent = self.clone();
        let handler: http::Handler = Arc::new(move |request| {
            let agent = agent.clone();
            Box::pin(async move {
                let body = http::read_json(request).await.map_err(|_| http::HangUp)?;
                let (wait, answer) = agent.answer(&body);
                tokio::time::sleep(wait).await;
                let body = http::full(stream(&answer));
                Ok(http::respond(::http::StatusCode::OK, "text/event-stream", body))
            })
        });
        http::serve(platform, ([127, 0, 0, 1], port).into(), handler, stop).await.unwrap();
    }

    /// Checks every transcript that there ever was, and notes what stands in it.
    pub fn read_transcripts(&self, books: &mut Books) {
        let Some(gateway) = self.gateway.lock().unwrap().upgrade() else { return };
        let mut ids = self.ids.lock().unwrap();
        for (key, entry) in &gateway.sessions.after("", usize::MAX).unwrap() {
            if !ids.iter().any(|(_, id)| *id == entry.session_id) {
                ids.push((key.clone(), entry.session_id.clone()));
            }
        }
        for (key, id) in ids.iter() {
            for message in gateway.sessions.messages(id, WHOLE).unwrap() {
                let said = serde_json::to_string(&message).unwrap();
                books.check_in(&format!("the transcript of {key}"), &said, std::slice::from_ref(key));
                if matches!(message, Message::User { .. }) {
                    books.stored.extend(marks(&said));
                }
            }
        }
    }

    fn answer(&self, body: &Value) -> (Duration, Answer) {
        let mut books = self.books.lock().unwrap();
        let books = &mut *books;
        self.read_transcripts(books);
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let users = messages.iter().filter(|m| m["role"] == "user");
        let said: Vec<usize> = users.flat_map(|m| marks(&m["content"].to_string())).collect();
        let mut entered: Vec<usize> = vec![];
        for text in said.iter().filter(|text| !books.stored.contains(text)) {
            if !entered.contains(text) {
                entered.push(*text);
            }
        }
        let has_tools = body["tools"].as_array().is_some_and(|tools| !tools.is_empty());
        // What was steered in and is answered once more stands in the transcript already.
        let last = messages.iter().rfind(|m| m["role"] == "user").map(|m| marks(&m["content"].to_string()));
        let last = last.unwrap_or_default();
        let about = if entered.is_empty() { &last[last.len().saturating_sub(1)..] } else { &entered[..] };
        let session =
            about.first().and_then(|text| books.texts[*text].place.clone()).unwrap_or_else(|| MAIN.to_owned());
        check(books, &session, about, entered.len(), has_tools);
        let all = body["messages"].to_string();
        books.check_in(&format!("a request in {session}"), &all, std::slice::from_ref(&session));

        let class = about.iter().map(|text| &books.texts[*text]).find(|t| !t.is_note).map(|t| t.class.clone());
        let is_slow = entered.iter().any(|text| std::mem::take(&mut books.texts[*text].is_slow));
        let wait = if is_slow { SLOW } else { Duration::ZERO };
        let ask = entered.iter().rev().find_map(|text| books.texts[*text].ask.take());
        if let (Some(ask), Some(class)) = (ask, class) {
            let is_nested = entered.iter().any(|text| books.texts[*text].is_agents);
            return (wait, call(books, &session, class, &ask, has_tools && !is_nested));
        }
        let mut known = marks(&all);
        known.sort_unstable();
        known.dedup();
        if known.is_empty() {
            return (wait, Answer::Text("HEARTBEAT_OK".to_owned()));
        }
        (wait, Answer::Text(known.into_iter().map(mark).collect::<Vec<_>>().join(" ")))
    }
}

/// What may enter one run together, and which run may have tools.
fn check(books: &mut Books, session: &str, about: &[usize], entered: usize, has_tools: bool) {
    let texts: Vec<Text> = about.iter().map(|text| books.texts[*text].clone()).collect();
    let wrong = |what: &str| format!("in {session}, {what}: {about:?} {texts:?}");
    let (notes, said): (Vec<&Text>, Vec<&Text>) = texts.iter().partition(|t| t.is_note);
    let mut complaints = vec![];
    if texts.iter().any(|t| t.place.as_deref() != Some(session)) {
        complaints.push(wrong("a run holds texts of another session"));
    }
    if let Some(first) = said.first() {
        if said.iter().any(|t| t.class != first.class) {
            complaints.push(wrong("texts of different rights entered one run"));
        }
        if notes.iter().any(|note| !note.class.covers(&first.class)) {
            complaints.push(wrong("a note entered a run of greater rights"));
        }
    }
    if has_tools && texts.iter().any(|t| !t.class.commands()) {
        complaints.push(wrong("a run has tools that its author may not have"));
    }
    if has_tools && texts.iter().any(|t| t.is_agents) {
        complaints.push(wrong("a run that an agent asked for has tools"));
    }
    let seen = &mut books.seen;
    seen.tools += u32::from(has_tools);
    seen.joined += u32::from(entered > 1 && said.len() > 1);
    seen.notes += u32::from(entered > 0 && !notes.is_empty());
    seen.nodes += u32::from(texts.iter().any(|t| matches!(t.class, Class::Node { .. })));
    books.wrong.extend(complaints);
}

/// The tool call that a text of `class` asks for, with a text of the agent's own in it; where that may be seen is written
/// down first.
fn call(books: &mut Books, session: &str, class: Class, ask: &Ask, has_tools: bool) -> Answer {
    books.seen.calls += 1;
    books.seen.calls_without += u32::from(!has_tools);
    let mut text = Text::new(class.clone(), None);
    text.is_agents = true;
    text.also.insert(session.to_owned());
    let is_nodes = matches!(class, Class::Node { .. }) && class.commands();
    let reaches = |other: &str| {
        has_tools && (class.anywhere() || other == session || (is_nodes && books.setup.node_may_name(1, other)))
    };
    let reached = match ask {
        Ask::History(other) | Ask::SessionSend(other) => reaches(other),
        _ => false,
    };
    match ask {
        Ask::Exec => text.may_run = has_tools && class.commands(),
        Ask::History(other) if reached => books.flow(other, session),
        Ask::SessionSend(other) if reached && other != session => {
            text.place = Some(other.clone());
            books.flow(other, session);
        }
        Ask::MessageSend(chat) if has_tools && class.sends_to(*chat) => drop(text.chats.insert(*chat)),
        _ => {}
    }
    let said = mark(books.add(text));
    match ask {
        Ask::Exec => Answer::Call("exec", json!({ "command": format!("prog {said}") })),
        Ask::History(other) => Answer::Call("sessions_history", json!({ "sessionKey": other })),
        Ask::SessionSend(other) => Answer::Call("sessions_send", json!({ "sessionKey": other, "message": said })),
        Ask::MessageSend(chat) => {
            Answer::Call("message_send", json!({ "to": chat.to_string(), "channel": "telegram", "message": said }))
        }
    }
}

/// As OpenAI streams it, in one piece.
fn stream(answer: &Answer) -> String {
    let (delta, end) = match answer {
        Answer::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
        Answer::Call(name, arguments) => {
            let function = json!({ "name": name, "arguments": arguments.to_string() });
            let call = json!({ "index": 0, "id": "call", "type": "function", "function": function });
            (json!({ "role": "assistant", "tool_calls": [call] }), "tool_calls")
        }
    };
    let piece = |delta: Value, end: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": end });
        let piece =
            json!({ "id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice] });
        format!("data: {piece}\n\n")
    };
    piece(delta, Value::Null) + &piece(json!({}), end.into()) + "data: [DONE]\n\n"
}
