use serde_json::json;

use super::Story;
use crate::history::What;

/// What the oracle says of these messages for this answer.
fn says(answer: &str, messages: &[&str]) -> String {
    let mut s = Story::new();
    s.expect.chunk_limit = 60;
    s.add(What::Update { update_id: 1, update: json!({ "chat": 2, "text": "hi", "message_id": 7 }) });
    let answer = json!({ "kind": "say", "text": answer }).to_string();
    s.add(What::asked(0, "[Telegram] hi\n[message_id: 7]", answer));
    for words in messages {
        let params = json!({ "chat_id": "2", "text": words, "parse_mode": "HTML" });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        s.add(call(None)).add(call(Some(200)));
    }
    s.at(90_000).note();
    super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "markup").unwrap().detail
}

#[test]
fn a_chat_is_shown_what_the_model_wrote() {
    let text = "Shopping list:\n\n1. **milk** & eggs\n2. `a<b`\n3. [shop](https://x.y/?a=1)\n\n- *now*";
    let html = "Shopping list:\n\n1. <b>milk</b> &amp; eggs\n2. <code>a&lt;b</code>\n3. <a href=\"https://x.y/?a=1\">shop</a>\n\n• <i>now</i>";
    assert_eq!(says(text, &[html]), "");
    for (good, bad, why) in [
        ("2. <code>", "1. <code>", "the chat is shown"),
        ("<b>milk</b>", "milk", "in another style"),
        ("a&lt;b", "ab", "the model wrote"),
        ("• <i>now</i>", "", "of the"),
        ("a=1", "a=2", "links lead to"),
    ] {
        let said = says(text, &[&html.replace(good, bad)]);
        assert!(said.contains(why), "{good} -> {bad}: {said}");
    }
}

#[test]
fn a_long_answer_is_whole_over_its_messages() {
    let text = "Lines of code:\n\n```sh\none line of it\nanother line of it\n```\nand the end";
    let (first, second) = (
        "Lines of code:\n\n<pre><code class=\"language-sh\">one line of it</code></pre>",
        "<pre><code class=\"language-sh\">another line of it</code></pre>\n\nand the end",
    );
    assert_eq!(says(text, &[first, second]), "");
    assert_eq!(says(text, &[first, first, second]), "", "sent again");
    assert!(says(text, &[first]).contains("of the"));
    assert!(says(text, &[first, &second.replace("</pre>", "")]).contains("no markup that Telegram takes"));
    assert!(says(text, &[first, "<pre>nother line of it</pre>\nand the end"]).contains("the chat is shown"));
    assert!(says("x", &[&"y".repeat(61)]).contains("61 units in one message, at most 60"));
}

#[test]
fn what_it_cannot_read_it_does_not_judge() {
    for text in
        ["Some text: a_b_c", "Some text:\n> quoted", "Some text: ![x](y)", "Some text:\n  - x", "Some text: **x"]
    {
        assert_eq!(says(text, &["Some text: other"]), "", "{text}");
    }
}

/// An answer that was never sent is not compared with one that begins as it does.
#[test]
fn messages_that_begin_alike_are_of_one_answer_each() {
    let mut s = Story::new();
    s.add(What::Update { update_id: 1, update: json!({ "chat": 2, "text": "hi", "message_id": 7 }) });
    for answer in ["there is no tool one", "there is no tool two"] {
        let answer = json!({ "kind": "say", "text": answer }).to_string();
        s.add(What::asked(0, "[Telegram] hi\n[message_id: 7]", answer));
    }
    let sent = |words: &str| {
        let mut s = s.clone();
        super::rights::sent(&mut s, "2", words);
        s.at(90_000).note();
        super::judge(&s.records, &s.expect).into_iter().find(|v| v.oracle == "markup").unwrap().detail
    };
    assert_eq!(sent("there is no tool two"), "");
    assert!(sent("there is no tool three").contains("the model wrote"));
}
