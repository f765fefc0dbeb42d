//! What a client has heard and its script speaks of: ids and hashes that only the gateway knows.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plan::{self, Deed};

/// Stand in parameters before a method or an event and a JSON pointer into its last payload.
const PREFIXES: [&str; 2] = ["answer:", "event:"];

/// The last payloads of what is spoken of, by `answer:METHOD` and `event:NAME`; null before there is one.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<String, Value>);

impl Heard {
    /// Nothing yet, for the script of this client.
    pub fn wanted(plan: &plan::Client) -> Self {
        let mut wanted = BTreeMap::new();
        for action in &plan.actions {
            if let Deed::Call { params, .. } = &action.deed {
                let mut params = params.clone();
                plan::each_text(&mut params, &mut |text| {
                    if let Some((of, _)) = reference(text) {
                        wanted.insert(of.to_owned(), Value::Null);
                    }
                });
            }
        }
        Self(wanted)
    }

    /// Some step speaks of this event.
    pub fn wants_event(&self, name: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(&format!("event:{name}"))
    }

    /// A request was answered well.
    pub fn answer(&mut self, method: &str, payload: &Value) {
        self.keep(&format!("answer:{method}"), payload);
    }

    /// An event came.
    pub fn event(&mut self, name: &str, payload: &Value) {
        self.keep(&format!("event:{name}"), payload);
    }

    fn keep(&mut self, of: &str, payload: &Value) {
        if let Some(last) = self.0.get_mut(of) {
            last.clone_from(payload);
        }
    }

    /// The parameters with what was heard in the place of each reference; one to nothing stays as it is.
    pub fn put_into(&self, mut params: Value) -> Value {
        if !self.0.is_empty() {
            plan::each_text(&mut params, &mut |text| {
                let found = reference(text).and_then(|(of, pointer)| self.0.get(of)?.pointer(pointer)?.as_str());
                if let Some(found) = found.map(str::to_owned) {
                    *text = found;
                }
            });
        }
        params
    }
}

/// `answer:METHOD/POINTER` or `event:NAME/POINTER`.
fn reference(text: &str) -> Option<(&str, &str)> {
    PREFIXES.iter().find(|prefix| text.starts_with(*prefix))?;
    Some(text.split_at(text.find('/')?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_heard_stands_in_the_place_of_its_reference() {
        let params =
            json!({ "a": "answer:node.pair.list/pending/0/requestId", "b": ["event:x/id"], "c": "answer:none" });
        let mut heard = Heard::default();
        assert_eq!(heard.put_into(params.clone()), params);
        heard.0.insert("answer:node.pair.list".into(), Value::Null);
        heard.0.insert("event:x".into(), Value::Null);
        assert!(heard.wants_event("x") && !heard.wants_event("y"));
        heard.answer("node.pair.list", &json!({ "pending": [{ "requestId": "r1" }] }));
        heard.answer("node.list", &json!({}));
        heard.event("x", &json!({ "id": 7 }));
        assert_eq!(heard.put_into(params)["a"], "r1");
        heard.event("x", &json!({ "id": "seven" }));
        let after = heard.put_into(json!({ "b": ["event:x/id"], "c": "answer:none" }));
        assert_eq!(after, json!({ "b": ["seven"], "c": "answer:none" }));
    }
}
