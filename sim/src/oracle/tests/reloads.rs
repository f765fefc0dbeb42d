use serde_json::json;

use super::{ORACLES, Story};

impl Story {
    fn file_edit(&mut self, text: &str) -> &mut Self {
        let i = self.records.len() as u64;
        self.fault(i, true, json!({ "kind": "config_edit", "text": text }))
    }
    /// Long enough for an edit to be in force.
    fn later(&mut self) -> &mut Self {
        let now = self.now;
        self.at(now + 20_000)
    }
    fn agents(&mut self, id: &str, agents: &[&str]) -> &mut Self {
        let rows: Vec<_> = agents.iter().map(|id| json!({ "id": id })).collect();
        self.call("a-1/1", id, "agents.list", json!({})).answer("a-1/1", id, json!({ "agents": rows }))
    }
}

fn edited() -> Story {
    let mut story = Story::new();
    story.expect.off = ORACLES.iter().map(|(name, _)| (*name).to_owned()).filter(|name| name != "reloads").collect();
    story.hello("a-1/1", 2, &["a-1"]).file_edit("+ {agents: {list: [{id: 'one'}]}}").later();
    story
}

#[test]
fn the_agents_are_those_of_a_version_that_can_be_in_force() {
    let second = "+ {agents: {list: [{id: 'one'}, {id: 'two'}]}}";
    edited().but(|s| _ = s.agents("1", &["one"])).holds();
    edited().but(|s| _ = s.agents("1", &["other"])).breaks("reloads", "of no version that can be in force");
    // Either while the second may be taken over, then only the second.
    edited().but(|s| _ = s.file_edit(second).agents("1", &["one"]).agents("2", &["one", "two"])).holds();
    edited().but(|s| _ = s.file_edit(second).later().agents("1", &["one", "two"])).holds();
    edited().but(|s| _ = s.file_edit(second).later().agents("1", &["one"])).breaks("reloads", "can be in force");
    edited().but(|s| _ = s.agents("1", &["one", "two"])).breaks("reloads", "can be in force");
    // A broken one is none, a wrong one neither.
    for broken in ["+ {agents: {list: [{id: 'x'}", "+ {agents: {list: [{id: 'x'}]}, gateway: {bind: 'mars'}}"] {
        edited().but(|s| _ = s.file_edit(broken).later().agents("1", &["one"])).holds();
        edited().but(|s| _ = s.file_edit(broken).later().agents("1", &["x"])).breaks("reloads", "can be in force");
    }
}

/// What a client has written is in force soon as well; one that nobody has answered may be.
#[test]
fn d50_what_clients_write_comes_into_force() {
    let ids = |agents: &[&str]| agents.iter().map(|id| json!({ "id": id })).collect::<Vec<_>>();
    let patch = json!({ "raw": "{agents: {list: [{id: 'two'}]}}", "baseHash": "h" });
    let config = json!({ "agents": { "list": ids(&["two"]) } });
    let written = |answered: bool| {
        edited().but(|s| {
            s.call("a-1/1", "p", "config.patch", patch.clone());
            if answered {
                s.answer("a-1/1", "p", json!({ "ok": true, "hash": "x", "config": config }));
            }
            s.later();
        })
    };
    written(true).but(|s| _ = s.agents("1", &["two"])).holds();
    written(true).but(|s| _ = s.agents("1", &["one"])).breaks("reloads", "can be in force");
    written(false).but(|s| _ = s.agents("1", &["one"])).holds();
    written(false).but(|s| _ = s.agents("1", &["two"])).holds();
}
