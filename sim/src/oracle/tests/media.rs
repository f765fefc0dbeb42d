use serde_json::{Value, json};

use super::Story;
use crate::{
    files,
    history::{
        What,
        parts::{self, Part},
    },
};

fn shown(name: &str) -> String {
    let (mime, content) = files::named(name).unwrap();
    format!("<file {name} {mime} {}B {}>", content.len(), fakes::sum(&content))
}

/// An operator asks for `params` to be sent to chat 7.
fn asks(params: Value) -> Story {
    let mut story = Story::new();
    story.hello("a-1/1", 2, &["a-1"]);
    let mut whole = json!({ "channel": "telegram", "to": "7", "message": "see", "idempotencyKey": "k" });
    whole.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
    story.call("a-1/1", "1", "send", whole);
    story
}

fn two() -> Story {
    asks(json!({ "mediaUrls": ["/w/a.png", "/w/b.txt"] }))
}

impl Story {
    fn uploads(&mut self, method: &str, name: &str, caption: &str, status: u16) -> &mut Self {
        let field = if method == "sendPhoto" { "photo" } else { "document" };
        let mut params = json!({ "chat_id": "7", field: shown(name) });
        if !caption.is_empty() {
            params["caption"] = caption.into();
        }
        self.bot(method, params, status)
    }
    fn bot(&mut self, method: &str, params: Value, status: u16) -> &mut Self {
        let method = method.to_owned();
        self.add(What::Telegram { method: method.clone(), params: params.clone(), status: None });
        self.add(What::Telegram { method, params, status: Some(status) })
    }
    fn sent(&mut self) -> &mut Self {
        self.answer("a-1/1", "1", json!({ "runId": "k", "messageId": "9", "channel": "telegram", "chatId": "7" }))
            .note()
    }
}

#[test]
fn files_go_out_as_they_are_in_their_order_with_their_words() {
    let mut good = two();
    good.but(|s| {
        s.uploads("sendPhoto", "a.png", "see", 200).uploads("sendDocument", "b.txt", "", 200).sent();
    })
    .holds();
    let a = |s: &mut Story| {
        s.uploads("sendPhoto", "a.png", "see", 200);
    };
    let b = |s: &mut Story| {
        s.uploads("sendDocument", "b.txt", "", 200);
    };
    good.but(|s| [b, a].iter().for_each(|f| f(s))).breaks("media", "a.png goes out of its turn");
    good.but(|s| [a, a].iter().for_each(|f| f(s))).breaks("media", "a.png goes out of its turn or once more");
    good.but(|s| {
        a(s);
        s.sent();
    })
    .breaks("media", "told as sent when 1 of 2 files have arrived");
    good.but(|s| {
        s.uploads("sendPhoto", "a.png", "", 200);
    })
    .breaks("media", "has the caption \"\", expected \"see\"");
    good.but(|s| {
        a(s);
        s.uploads("sendDocument", "b.txt", "see", 200);
    })
    .breaks("media", "b.txt has the caption \"see\", expected \"\"");
    good.but(|s| {
        s.uploads("sendDocument", "a.png", "see", 200);
    })
    .breaks("media", "does not go as one");
    // One that Telegram refuses as a picture goes as a document.
    good.but(|s| {
        s.uploads("sendPhoto", "a.png", "see", 400).uploads("sendDocument", "a.png", "see", 200);
        b(s);
        s.sent();
    })
    .holds();
    good.but(|s| {
        s.uploads("sendPhoto", "a.png", "see", 400);
        s.refuse("a-1/1", "1", "UNAVAILABLE", "DELIVERY_REFUSED").note();
    })
    .breaks("media", "a.png, refused as a picture, does not go as a document");
    good.but(|s| {
        s.uploads("sendPhoto", "b.txt", "", 400);
    })
    .breaks("media", "b.txt is no picture");
    good.but(|s| {
        s.uploads("sendDocument", "c.txt", "", 200);
    })
    .breaks("media", "nobody asked for this file there");
    let other = json!({ "chat_id": "7", "photo": "<file a.png image/png 3B 00000000>", "caption": "see" });
    good.but(|s| {
        s.bot("sendPhoto", other, 200);
    })
    .breaks("media", "not as it is");
    good.refuse("a-1/1", "1", "INVALID_REQUEST", "MEDIA_FILE");
    good.breaks("media", "refused as MEDIA_FILE though its files are there");
}

#[test]
fn words_that_do_not_fit_come_behind_the_files() {
    let words = "word ".repeat(300);
    let mut story = asks(json!({ "mediaUrl": "/w/a.png", "message": words }));
    story.uploads("sendPhoto", "a.png", "", 200);
    story
        .but(|s| {
            s.bot("sendMessage", json!({ "chat_id": "7", "text": words }), 200).sent();
        })
        .holds();
    story.sent();
    story.breaks("media", "its words did not come behind its files");
}

#[test]
fn s16_what_may_not_be_sent_is_refused_and_leaves_no_trace() {
    for (url, code) in [
        ("/w/none.png", "MEDIA_FILE"),
        ("http://files.example/to/4/a.png", "MEDIA_URL"),
        ("http://files.example/inside/a.png", "MEDIA_UNREACHABLE"),
    ] {
        let mut story = asks(json!({ "mediaUrls": ["/w/b.txt", url] }));
        story
            .but(|s| {
                s.refuse("a-1/1", "1", "UNAVAILABLE", code).note();
            })
            .holds();
        story
            .but(|s| {
                s.uploads("sendDocument", "b.txt", "see", 200);
            })
            .breaks("media", "must be refused");
        story.sent();
        story.breaks("media", "was taken though its files may not be sent");
    }
    let many: Vec<String> = (0..11).map(|n| format!("/w/a-{n}.png")).collect();
    let mut story = asks(json!({ "mediaUrls": many }));
    story
        .but(|s| {
            s.refuse("a-1/1", "1", "INVALID_REQUEST", "TOO_MANY_MEDIA").note();
        })
        .holds();
    story.refuse("a-1/1", "1", "INVALID_REQUEST", "MEDIA_FILE");
    story.breaks("media", "was refused as MEDIA_FILE, expected [\"TOO_MANY_MEDIA\"]");
    let fetched = |from: &str| What::Fetched { from: from.into(), path: "/a.png".into() };
    Story::new()
        .but(|s| {
            s.add(fetched("files.example")).note();
        })
        .holds();
    Story::new()
        .but(|s| {
            s.add(fetched("inside")).note();
        })
        .breaks("media", "which is not on the internet");
}

#[test]
fn files_of_messages_that_are_over_are_gone() {
    let kept = |used| What::Kept { file: "media/outbound/1-a-0".into(), sum: "x".into(), used };
    Story::new()
        .but(|s| {
            s.add(kept(true));
        })
        .holds();
    Story::new()
        .but(|s| {
            s.add(kept(false));
        })
        .breaks("media", "left behind by a message that is over");
}

fn envelope(id: i64) -> Part {
    Part::User(format!("[Telegram Person (@person2) id:2 2023-11-14 22:13 UTC] hi\n[message_id: {id}]"))
}

/// A person writes message 7 with `file`; the model is given `parts`, and `kept` lies in the state directory at the end.
fn comes_in(file: &Value, parts: Vec<Part>, kept: &str) -> Story {
    Story::new().but(|s| {
        let update = json!({ "chat": 2, "text": "hi", "message_id": 7, "file": file });
        s.expect.off.extend(["telegram_answered".to_owned(), "transcript".to_owned()]);
        s.add(What::Update { update_id: 1, update });
        s.add(What::asked(0, "hi", "{\"kind\":\"hang\"}"));
        s.add(What::Given { request: 0, after: None, parts, system: 1 });
        s.add(What::Kept { file: "media/inbound/x.txt".into(), sum: kept.into(), used: false });
    })
}

#[test]
fn files_come_in_as_they_are() {
    let paper =
        json!({ "id": "f", "path": "p", "name": "paper.txt", "sum": "00000001", "large": false, "picture": null });
    let line = |text: &str| vec![envelope(7), Part::User(text.to_owned())];
    let kept = "[file paper.txt: /state/media/inbound/x.txt]";
    comes_in(&paper, line(kept), "00000001").holds();
    comes_in(&paper, line(kept), "00000002").breaks("media", "has the sum 00000002, expected 00000001");
    comes_in(&paper, vec![envelope(7)], "00000001")
        .breaks("media", "of 1 messages with a file the model is given 0 files");
    comes_in(&paper, line("[file other.txt: /state/media/inbound/x.txt]"), "00000001").breaks("media", "its name is");
    comes_in(&paper, line("[file paper.txt: /state/media/inbound/y.txt]"), "00000001")
        .breaks("media", "nothing is kept in");
    comes_in(&paper, line("[attachment paper.txt could not be fetched: x]"), "00000001").breaks("media", "it is there");
    let large =
        json!({ "id": "f", "path": "p", "name": "paper.txt", "sum": "00000001", "large": true, "picture": null });
    comes_in(&large, line("[attachment paper.txt could not be fetched: x]"), "00000001").holds();
    comes_in(&large, line(kept), "00000001").breaks("media", "it is too large, and is kept");
    let picture = json!({ "id": "f", "path": "p", "name": null, "sum": "00000001", "large": false, "picture": "aa" });
    comes_in(&picture, vec![envelope(7), Part::Image("aa".into())], "x").holds();
    comes_in(&picture, line(kept), "00000001").breaks("media", "it is a picture");
    let two = vec![envelope(7), Part::Image("aa".into()), Part::Image("bb".into())];
    comes_in(&picture, two, "x").breaks("media", "a picture that nobody sent");
}

#[test]
fn pictures_of_requests_stand_behind_their_words() {
    let item = |data: &str| json!({ "type": "image", "mimeType": "image/png", "content": data });
    let asks = |list: Vec<Value>| {
        let mut story = Story::new();
        story.expect.off.extend(["runs_end", "transcript", "agent_seq"].map(str::to_owned));
        story.hello("a-1/1", 2, &["a-1"]);
        let params = json!({ "sessionKey": "main", "message": "look", "attachments": list, "idempotencyKey": "k" });
        story.call("a-1/1", "1", "chat.send", params);
        story
    };
    let given = |s: &mut Story, pictures: &[&str]| {
        let pictures = pictures.iter().map(|p| Part::Image(parts::picture_sum(p)));
        let parts = std::iter::once(Part::User("look".into())).chain(pictures).collect();
        s.answer("a-1/1", "1", json!({ "runId": "k", "status": "started" }));
        s.add(What::asked(0, "look", "{\"kind\":\"hang\"}"));
        s.add(What::Given { request: 0, after: None, parts, system: 1 });
    };
    let two = asks(vec![item("YQ=="), json!({ "mimeType": "text/plain", "content": "Yg==" }), item("Yw==")]);
    two.but(|s| given(s, &["YQ==", "Yw=="])).holds();
    two.but(|s| given(s, &["Yw==", "YQ=="])).breaks("media", "came with 2 pictures");
    two.but(|s| given(s, &["YQ=="])).breaks("media", "behind it are 1");
    two.but(|s| given(s, &["YQ==", "Yw==", "Yg=="])).breaks("media", "");
    let eleven = asks(vec![item("YQ=="); 11]);
    eleven
        .but(|s| {
            s.refuse("a-1/1", "1", "INVALID_REQUEST", "TOO_MANY_ATTACHMENTS").note();
        })
        .holds();
    eleven.but(|s| given(s, &["YQ=="])).breaks("media", "expected TOO_MANY_ATTACHMENTS");
    let bad = asks(vec![item("%")]);
    bad.but(|s| {
        s.refuse("a-1/1", "1", "INVALID_REQUEST", "BAD_ATTACHMENT").note();
    })
    .holds();
    bad.but(|s| given(s, &[])).breaks("media", "expected BAD_ATTACHMENT");
    let mut good = asks(vec![item("YQ==")]);
    good.refuse("a-1/1", "1", "INVALID_REQUEST", "BAD_ATTACHMENT");
    good.breaks("media", "got BAD_ATTACHMENT");
}
