use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::REDACTED;

/// Files by name, and one variable.
struct Files(BTreeMap<&'static str, &'static str>);

impl Outside for Files {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "KEY").then(|| "key-of-the-environment".to_owned())
    }
    fn state_file(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, path: &str, _: Option<&str>) -> Result<(String, String), String> {
        let text = self.0.get(path).ok_or_else(|| format!("{path} is not there"))?;
        Ok(((*text).to_owned(), path.to_owned()))
    }
}

fn none() -> Files {
    Files(BTreeMap::new())
}

fn merge(value: Value) -> Edit {
    let Value::Object(map) = value else { panic!("{value}") };
    Edit::Merge(map)
}

const FILE: &str = "{\n  // mine\n  gateway: { mode: 'local', auth: { token: 'planted-0123456789' } }, // token planted-0123456789\n  talk: { apiKey: '${KEY}' },\n}\n";

#[test]
fn d21_a_merge_keeps_comments_and_variables() {
    let over = json!({"messages": {"ackReactionScope": "all"}, "gateway": {"port": 4242}});
    let changed = change(FILE, &merge(over), &none()).unwrap();
    for kept in ["// mine", "'${KEY}'", "token: 'planted-0123456789'", "ackReactionScope", "port: 4242"] {
        assert!(changed.text.replace('"', "").contains(&kept.replace('"', "")), "{kept} in {}", changed.text);
    }
    assert!(!changed.text.contains("key-of-the-environment") && changed.left.is_empty());
    assert_eq!(changed.loaded.unwrap().config.gateway.port, Some(4242));
}

#[test]
fn d50_a_merge_takes_out_replaces_lists_and_goes_into_objects() {
    let old = "{ agents: { list: [{ id: 'a' }, { id: 'b' }], defaults: { model: 'builtin/echo' } }, logging: { level: 'debug' } }";
    let over = json!({"agents": {"list": [{"id": "c"}], "defaults": {"model": null}}, "logging": null, "none": null,
        "session": {"mainKey": "x", "dmScope": null}});
    let text = change(old, &merge(over), &none()).unwrap().text;
    let read = read_value(&text).unwrap();
    assert_eq!(read, json!({"agents": {"list": [{"id": "c"}], "defaults": {}}, "session": {"mainKey": "x"}}));
}

#[test]
fn d17_a_text_that_was_shown_comes_back_with_its_secrets_in_values_and_comments() {
    let shown = crate::redacted_text(FILE).unwrap();
    assert!(!shown.contains("planted"), "{shown}");
    let sent = shown.replace("mode: 'local'", "mode: 'local', port: 1");
    let changed = change(FILE, &Edit::Replace(sent), &none()).unwrap();
    let (kept, wanted) = (changed.text.replace('"', "'"), FILE.replace("mode: 'local'", "mode: 'local', port: 1"));
    assert_eq!(kept, wanted);
    let over = json!({"talk": {"apiKey": REDACTED}, "gateway": {"auth": {"token": REDACTED}}});
    let same = change(FILE, &merge(over), &none()).unwrap().text;
    assert_eq!(same.replace('"', "'"), FILE);
}

#[test]
fn d17_a_marker_for_nothing_is_refused() {
    for what in
        [merge(json!({"talk": {"apiKey": REDACTED}})), Edit::Replace(format!("{{talk: {{apiKey: '{REDACTED}'}}}}"))]
    {
        let Err(Refused::Wrong(problems)) = change("{}", &what, &none()) else { panic!("{what:?}") };
        assert_eq!(problems[0].path, "talk.apiKey");
    }
}

#[test]
fn d36_what_was_tolerated_stays_and_nothing_gets_worse() {
    let old = "{ bogus: 1, gateway: { mode: 'local' } }";
    let changed = change(old, &merge(json!({"gateway": {"port": 5}})), &none()).unwrap();
    assert_eq!((changed.left.len(), changed.loaded.is_some()), (1, true));
    for wrong in [json!({"nope": {"a": 1}}), json!({"gateway": {"bind": "mars"}}), json!({"gateway": {"prot": 5}})] {
        let refused = change(old, &merge(wrong.clone()), &none());
        assert!(matches!(refused, Err(Refused::Wrong(_))), "{wrong}: {refused:?}");
    }
    // A file that no start takes may be mended step by step.
    let broken = "{ gateway: { bind: 'mars', port: 'many' } }";
    let step = change(broken, &Edit::Unset(Path::parse("gateway.port").unwrap()), &none()).unwrap();
    assert_eq!((step.left.len(), step.loaded), (1, None));
}

#[test]
fn d21_what_an_included_file_says_is_changed_there() {
    let files = Files([("part", "{gateway: {port: 1}, agents: {list: [{id: 'a'}]}}")].into());
    let old = "{ $include: 'part', gateway: { mode: 'local' } }";
    // A key beside the include lies over it.
    let changed = change(old, &merge(json!({"gateway": {"port": 2}})), &files).unwrap();
    assert!(changed.text.contains("$include") && changed.loaded.unwrap().config.gateway.port == Some(2));
    // Lists are joined, and what stands there only cannot be taken out here.
    let path = |text: &str| Path::parse(text).unwrap();
    for change_to in [
        merge(json!({"agents": {"list": [{"id": "b"}]}})),
        merge(json!({"gateway": {"port": null}})),
        Edit::Set(path("agents.list"), json!([{"id": "b"}])),
        Edit::Unset(path("gateway.port")),
    ] {
        let refused = change(old, &change_to, &files);
        let Err(Refused::Included { files, .. }) = refused else { panic!("{change_to:?}: {refused:?}") };
        assert_eq!(files, "part");
    }
}

#[test]
fn d21_a_text_that_cannot_be_read_is_told_with_its_place() {
    let refused = change("{}", &Edit::Replace("{\n nope".into()), &none()).unwrap_err();
    assert!(refused.to_string().starts_with("line 2"), "{refused}");
    assert!(change("{ broken", &Edit::Replace("{}".into()), &none()).is_ok(), "a broken file can be replaced");
    assert!(matches!(
        change("{ broken", &merge(json!({"a": 1})), &none()),
        Err(Refused::Edit(EditError::Unreadable(_)))
    ));
}

/// A file as people write it: comments between, before and after everything, single quotes, trailing commas.
fn dressed(value: &Value, indent: usize, n: &mut usize) -> String {
    *n += 1;
    let (note, pad) = (format!("/* note {n} */"), " ".repeat(indent));
    match value {
        Value::Object(map) => {
            let inner = map.iter().map(|(key, item)| format!("{pad}  '{key}': {},\n", dressed(item, indent + 2, n)));
            let inner: String = inner.collect();
            format!("{note} {{\n{inner}{pad}  // end {indent}\n{pad}}}")
        }
        Value::Array(list) => {
            let inner: Vec<String> = list.iter().map(|item| dressed(item, indent, n)).collect();
            format!("[{}]", inner.join(", "))
        }
        other => format!("{other} {note}"),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z ]{0,6}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::btree_map("[a-d]{1,2}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    /// For any file and any edit of one value, what stands before and after that value is the same, byte for byte.
    #[test]
    fn d21_outside_of_the_edited_value_every_byte_stays(
        doc in prop::collection::btree_map("[a-d]{1,2}", any_value(), 1..4),
        pick in any::<prop::sample::Index>(),
        value in any_value(),
    ) {
        let doc = Value::Object(doc.into_iter().collect());
        let text = dressed(&doc, 0, &mut 0) + "\n// last\n";
        let mut places = vec![];
        all_places(&doc, &Path::default(), &mut places);
        let path = pick.get(&places);
        let old = path.get(&doc).unwrap();
        let after = set(&text, path, &value).unwrap();
        // The longest common start and end hold all but the old value, which has no notes within when it is a scalar.
        let start = text.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
        let end = text.bytes().rev().zip(after.bytes().rev()).take_while(|(a, b)| a == b).count();
        let gone = text.len().saturating_sub(start + end);
        let mut n = 0;
        let longest = dressed(old, 2 * path.segments().len(), &mut n).len() + 40 * (n + 1);
        prop_assert!(gone <= longest, "{gone} bytes of {text} are gone in {after}");
        if !old.is_object() && !old.is_array() {
            prop_assert!(gone <= old.to_string().len(), "{text}\n{after}");
        }
        let read = read_value(&after).unwrap();
        prop_assert_eq!(path.get(&read), Some(&value));
        // Taken back, the text is as it was where the value is a scalar.
        if !old.is_object() && !old.is_array() {
            prop_assert_eq!(set(&after, path, old).unwrap(), text);
        }
    }

    /// A merge means what RFC 7386 says, whatever the file looks like.
    #[test]
    fn d50_a_merge_means_what_it_should(
        doc in prop::collection::btree_map("[a-d]{1,2}", any_value(), 0..4),
        over in prop::collection::btree_map("[a-d]{1,2}", prop_oneof![4 => any_value(), 1 => Just(Value::Null)], 0..4),
    ) {
        let (doc, over) = (Value::Object(doc.into_iter().collect()), Value::Object(over.into_iter().collect()));
        let text = dressed(&doc, 0, &mut 0);
        let Value::Object(map) = &over else { unreachable!() };
        let after = merged(&text, &Path::default(), map, &doc).unwrap();
        let mut wanted = doc.clone();
        rfc_7386(&mut wanted, &over);
        prop_assert_eq!(read_value(&after).unwrap(), wanted);
        prop_assert!(after.contains("// end 0"));
    }
}

fn all_places(value: &Value, path: &Path, out: &mut Vec<Path>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, item)| {
            out.push(path.key(key));
            all_places(item, &path.key(key), out);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, item)| {
            out.push(path.index(i));
            all_places(item, &path.index(i), out);
        }),
        _ => {}
    }
}

/// As the standard writes it.
fn rfc_7386(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            rfc_7386(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Every byte of `text` stands in `after` in the same order, and so much more at most.
fn is_kept(text: &str, after: &str, more: usize) -> bool {
    let mut rest = after.bytes();
    text.bytes().all(|b| rest.any(|c| c == b)) && after.len() <= text.len() + more
}

proptest! {
    /// A value that is added takes nothing away and moves nothing: neither in a file with a line for each key nor in one of a
    /// single line.
    #[test]
    fn d21_what_is_added_moves_nothing(
        doc in prop::collection::btree_map("[a-d]{1,2}", any_value(), 0..4),
        pick in any::<prop::sample::Index>(),
        one_line in any::<bool>(),
        loose in any::<bool>(),
    ) {
        let doc = Value::Object(doc.into_iter().collect());
        let text = match (one_line, loose) {
            (false, _) => dressed(&doc, 0, &mut 0) + "\n",
            (true, false) => doc.to_string() + "\n",
            (true, true) => doc.to_string().replace(',', " , ").replace('}', " , }").replace("{ , }", "{ }") + "\n",
        };
        prop_assume!(read_value(&text).as_ref() == Ok(&doc));
        let mut places = vec![Path::default()];
        all_places(&doc, &Path::default(), &mut places);
        let into: Vec<&Path> = places.iter().filter(|p| p.get(&doc).is_some_and(|v| v.is_object() || v.is_array())).collect();
        let place = *pick.get(&into);
        let path = match place.get(&doc) {
            Some(Value::Array(list)) => place.index(list.len()),
            _ => place.key("zz"),
        };
        let after = set(&text, &path, &json!(4242)).unwrap();
        let indent = 2 * (path.segments().len() + 1);
        prop_assert!(is_kept(&text, &after, 20 + 2 * indent), "{text}\n{after}");
    }
}

proptest! {
    /// What is taken out leaves everything else as it is.
    #[test]
    fn d21_what_is_taken_out_moves_nothing(
        doc in prop::collection::btree_map("[a-d]{1,2}", any_value(), 1..4),
        pick in any::<prop::sample::Index>(),
        one_line in any::<bool>(),
    ) {
        let doc = Value::Object(doc.into_iter().collect());
        let text = if one_line { doc.to_string() + "\n" } else { dressed(&doc, 0, &mut 0) + "\n" };
        let mut places = vec![];
        all_places(&doc, &Path::default(), &mut places);
        let path = pick.get(&places);
        let after = unset(&text, path).unwrap();
        prop_assert!(is_kept(&after, &text, usize::MAX / 2), "{text}\n{after}");
        // Whatever stands before it does not move at all.
        let mut n = 0;
        let gone = dressed(path.get(&doc).unwrap(), 2 * path.segments().len(), &mut n).len() + 60 * (n + 1);
        prop_assert!(text.len() - after.len() <= gone, "{text}\n{after}");
    }
}

#[test]
fn d21_what_no_start_takes_is_not_written() {
    let path = |text: &str| Path::parse(text).unwrap();
    let file = "{ gateway: { mode: 'local', auth: { token: 'planted-0123456789' } } }";
    for (edit, place) in [
        (merge(json!({"gateway": null})), "gateway.mode"),
        (merge(json!({"gateway": {"auth": null}})), "gateway.auth"),
        (merge(json!({"gateway": {"mode": "remote"}})), "gateway.mode"),
        (Edit::Replace("{}".into()), "gateway.mode"),
        (Edit::Unset(path("gateway.auth.token")), "gateway.auth"),
    ] {
        let Err(Refused::Wrong(problems)) = change(file, &edit, &none()) else { panic!("{edit:?}") };
        assert_eq!(problems[0].path, place, "{edit:?}");
    }
    // Where the environment has the secret, the file needs none; and who had none begins somewhere.
    let env = |name: &str| (name == "OPENCLAW_GATEWAY_TOKEN").then(|| "of-the-environment".to_owned());
    assert!(change(file, &Edit::Unset(path("gateway.auth.token")), &env).is_ok());
    assert!(change("{}", &merge(json!({"gateway": {"port": 1}})), &none()).is_ok());
}
