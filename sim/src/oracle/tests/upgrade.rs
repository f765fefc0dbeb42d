use std::collections::BTreeMap;

use serde_json::json;

use super::{ORACLES, Story};
use crate::history::{Holding, What};

/// The newest schema of these stories; the earlier build's is one before.
const NEWEST: u32 = 4;

fn story() -> Story {
    let mut story = Story::new();
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "upgrade").collect();
    story
}

fn holding(schema: u32) -> Holding {
    let rows = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "sum".to_owned())).collect();
    let tables = [("sessions", &["main"][..]), ("transcripts", &["1", "2"]), ("devices", &["d"]), ("outbound", &["o"])];
    Holding { schema, rows: tables.into_iter().map(|(table, keys)| (table.to_owned(), rows(keys))).collect() }
}

fn without(mut holding: Holding, table: &str, key: &str) -> Holding {
    holding.rows.get_mut(table).unwrap().remove(key);
    holding
}

impl Story {
    fn image(&mut self) -> &mut Self {
        let waits = BTreeMap::from([("o".to_owned(), ("7".to_owned(), "left".to_owned()))]);
        self.add(What::Left { newest: NEWEST, state: Ok(holding(NEWEST - 1)), copies: BTreeMap::new(), waits })
    }
    fn finds(&mut self, state: Holding, copy: Option<Holding>) -> &mut Self {
        let copies = copy.map(|copy| ("openclaw-schema-3.redb".to_owned(), Ok(copy))).into_iter().collect();
        self.add(What::Left { newest: NEWEST, state: Ok(state), copies, waits: BTreeMap::new() })
    }
    fn arrives(&mut self, text: &str) -> &mut Self {
        let params = json!({ "chat_id": "7", "text": text });
        let call = |status| What::Telegram { method: "sendMessage".into(), params: params.clone(), status };
        self.add(call(None)).add(call(Some(200)))
    }
}

/// The old state untouched, then the new one with a copy of the old one.
fn upgraded() -> Story {
    story().but(|s| _ = s.image().finds(holding(3), None).finds(holding(4), Some(holding(3))))
}

#[test]
fn f60_the_state_is_the_old_one_or_the_new_one_with_its_copy() {
    upgraded().holds();
    story().but(|s| _ = s.image().finds(holding(4), None)).breaks("upgrade", "no copy");
    let torn = Some(without(holding(3), "transcripts", "2"));
    story().but(|s| _ = s.image().finds(holding(4), torn)).breaks("upgrade", "no copy");
    let other = without(holding(3), "outbound", "o");
    story().but(|s| _ = s.image().finds(other, None)).breaks("upgrade", "not as it was left");
    story().but(|s| _ = s.image().finds(holding(3), None)).breaks("upgrade", "at the end it is of schema 3");
    let back = upgraded().but(|s| _ = s.finds(holding(3), Some(holding(3))));
    back.breaks("upgrade", "has become 3 again");
}

#[test]
fn f60_what_cannot_be_read_is_told() {
    let unreadable =
        || What::Left { newest: NEWEST, state: Err("damaged".into()), copies: BTreeMap::new(), waits: BTreeMap::new() };
    upgraded().but(|s| _ = s.add(unreadable())).breaks("upgrade", "cannot be read: damaged");
    // A disk that lies promises nothing.
    let lied = upgraded().but(|s| {
        s.add(What::Fault { id: 0, on: true, fault: json!({ "kind": "lost_write" }) });
        s.add(unreadable());
    });
    lied.holds();
}

#[test]
fn f60_nothing_that_was_there_is_lost() {
    for (table, key) in [("sessions", "main"), ("transcripts", "2"), ("devices", "d")] {
        let lost = story().but(|s| _ = s.image().finds(without(holding(4), table, key), Some(holding(3))));
        lost.breaks("upgrade", &format!("{key} of {table} is gone"));
    }
}

#[test]
fn f60_what_waited_goes_out_or_waits() {
    let gone = || upgraded().but(|s| _ = s.finds(without(holding(4), "outbound", "o"), Some(holding(3))));
    gone().breaks("upgrade", "gone and never arrived");
    gone().but(|s| _ = s.arrives("left")).holds();
    gone().but(|s| _ = s.arrives("other")).breaks("upgrade", "gone and never arrived");
    gone().but(|s| _ = s.arrives("left").arrives("left")).breaks("upgrade", "arrived 2 times");
    // The process that sent it ended before it could know.
    let again = gone().but(|s| _ = s.arrives("left").process("crash").process("start").arrives("left"));
    again.holds();
}
