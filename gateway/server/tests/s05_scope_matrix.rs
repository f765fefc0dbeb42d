//! S05: who may call what and see what, for every method, every event and every set of scopes. The tables below were
//! written from the protocol's description (protocol-core.md sections 9 and 10, decision D7), not from the code; a method
//! or event that is new has to be added here by hand.

#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use openclaw_protocol::{
    event::EVENTS,
    method::METHODS,
    scope::{Role, Scopes},
};
use openclaw_server::{gateway::Gateway, hub::Connection};
use serde_json::json;
use support::{Device, TOKEN, call, enter, gateway, local};

/// Each line: what it takes, and for what. `node`: the role node, whatever its scopes. The protocol's description has
/// browser.request with write; a browser is a command here, and write is not admin (D3, D47, S28).
const METHOD_TABLE: &[(&str, &str)] = &[
    ("node", "node.invoke.result node.event skills.bins"),
    ("operator.approvals", "exec.approval.request exec.approval.resolve exec.approval.list"),
    (
        "operator.pairing",
        "node.pair.request node.pair.list node.pair.approve node.pair.reject node.pair.verify node.rename \
         device.pair.list device.pair.approve device.pair.reject device.token.rotate device.token.revoke \
         channels.pairing.list channels.pairing.approve",
    ),
    (
        "operator.read",
        "health status logs.tail channels.status usage.status usage.cost tts.status tts.providers models.list \
         agents.list agent.identity.get skills.status voicewake.get sessions.list sessions.preview cron.list \
         cron.status cron.runs system-presence last-heartbeat node.list node.describe chat.history \
         delivery.list",
    ),
    (
        "operator.write",
        "send agent agent.wait wake talk.mode tts.enable tts.disable tts.convert tts.setProvider voicewake.set \
         node.invoke node.invoke.cancel chat.send chat.abort delivery.retry",
    ),
    (
        "operator.admin",
        "connect channels.logout chat.inject config.get config.set config.apply config.patch config.schema cron.add \
         cron.update cron.remove cron.run exec.approvals.get exec.approvals.set exec.approvals.node.get \
         exec.approvals.node.set poll sessions.patch sessions.reset sessions.delete sessions.compact sessions.resolve \
         set-heartbeats skills.install skills.update system-event update.run web.login.start web.login.wait \
         wizard.start wizard.next wizard.cancel wizard.status delivery.drop backup.create browser.request",
    ),
];

/// Each line: what an operator needs (`*` nothing, `-` it is for one connection alone), whether every node sees it.
const EVENT_TABLE: &[(&str, bool, &str)] = &[
    ("*", true, "tick shutdown"),
    ("-", false, "connect.challenge node.invoke.request node.invoke.cancel"),
    ("operator.read", true, "voicewake.changed talk.mode"),
    ("operator.read", false, "agent chat presence health heartbeat cron"),
    ("operator.pairing", false, "device.pair.requested device.pair.resolved node.pair.requested node.pair.resolved"),
    ("operator.approvals", false, "exec.approval.requested exec.approval.resolved"),
];

const SCOPES: [&str; 5] =
    ["operator.read", "operator.write", "operator.approvals", "operator.pairing", "operator.admin"];

/// What holding `held` gives: admin all, write also read, nothing else anything else.
fn opens(held: &BTreeSet<&str>, needed: &str) -> bool {
    held.contains("operator.admin")
        || held.contains(needed)
        || (needed == "operator.read" && held.contains("operator.write"))
}

fn needed(method: &str) -> &'static str {
    let row = METHOD_TABLE.iter().find(|(_, names)| names.split_whitespace().any(|n| n == method));
    row.unwrap_or_else(|| panic!("{method} is in no line of METHOD_TABLE: who may call it?")).0
}

/// A connection for every set of scopes in both roles; the bogus one grants nothing (and keeps the empty set from
/// meaning admin).
async fn everybody(gateway: &Arc<Gateway>) -> Vec<(Role, BTreeSet<&'static str>, Arc<Connection>)> {
    let mut all = vec![];
    for bits in 0..32u8 {
        for (role, name) in [(Role::Operator, "operator"), (Role::Node, "node")] {
            let held: BTreeSet<&str> = (0..5).filter(|i| bits & (1 << i) != 0).map(|i| SCOPES[i]).collect();
            let asked: Vec<&str> = held.iter().copied().chain(["bogus"]).collect();
            // Each node is one of its own: a second connection would take its place (D18).
            let device = (role == Role::Node).then(|| Device::new(bits + 1));
            let (connection, _) = enter(gateway, local(), device.as_ref(), name, &asked, TOKEN).await.unwrap();
            assert_eq!(connection.scopes, Scopes::new(asked.iter().map(|s| (*s).to_owned())));
            all.push((role, held, connection));
        }
    }
    all
}

#[tokio::test]
async fn s05_every_method_with_every_set_of_scopes() {
    let gateway = gateway();
    let all = everybody(&gateway).await;
    for method in METHODS.iter().map(|m| m.name).chain(["no.such.method"]) {
        let needed = if method == "no.such.method" { "operator.admin" } else { needed(method) };
        for (role, held, connection) in &all {
            // A number is no object: who may call is told so, and nothing is carried out.
            let error = call(&gateway, connection, method, json!(0)).await.unwrap_err();
            let code = error["details"]["code"].as_str().unwrap();
            let expected = match (needed, role) {
                ("node", Role::Node) => None,
                ("node", Role::Operator) | (_, Role::Node) => Some("UNAUTHORIZED_ROLE"),
                (needed, Role::Operator) if opens(held, needed) => None,
                _ => Some("MISSING_SCOPE"),
            };
            let refused = ["UNAUTHORIZED_ROLE", "MISSING_SCOPE"].contains(&code).then_some(code);
            assert_eq!(refused, expected, "{method} as {role:?} with {held:?}");
            if code == "MISSING_SCOPE" {
                assert_eq!(error["message"], format!("missing scope: {needed}"));
            }
        }
    }
}

#[tokio::test]
async fn s05_every_event_with_every_set_of_scopes() {
    let gateway = gateway();
    let all = everybody(&gateway).await;
    for event in EVENTS {
        let (scope, nodes, _) = EVENT_TABLE
            .iter()
            .find(|(_, _, names)| names.split_whitespace().any(|n| n == event.name))
            .unwrap_or_else(|| panic!("{} is in no line of EVENT_TABLE: who may see it?", event.name));
        for (role, held, connection) in &all {
            let expected = match role {
                Role::Operator => *scope == "*" || (*scope != "-" && opens(held, scope)),
                Role::Node => *nodes,
            };
            assert_eq!(connection.may_see(event), expected, "{} as {role:?} with {held:?}", event.name);
        }
    }
}

/// The table of docs/security.md is the code's.
#[test]
fn the_documented_table_is_the_one_in_force() {
    let mut table = "| method | role | scope | what it does |\n| --- | --- | --- | --- |\n".to_owned();
    for m in METHODS {
        let scope = if m.role == Role::Node { "-" } else { m.scope.as_str() };
        let _ = writeln!(table, "| `{}` | {} | {scope} | {} |", m.name, m.role.as_str(), m.summary);
    }
    table.push_str("\n| event | operators need | may be withheld from a slow reader |\n| --- | --- | --- |\n");
    let mut seen = BTreeSet::new();
    for e in EVENTS.iter().filter(|e| seen.insert(e.name)) {
        let scope = e.scope.map_or("-", openclaw_protocol::scope::Scope::as_str);
        let _ = writeln!(table, "| `{}` | {scope} | {} |", e.name, if e.droppable { "yes" } else { "no" });
    }
    let page = include_str!("../../../docs/security.md");
    let documented = page.split("<!-- table -->\n").nth(1).unwrap_or_default();
    assert!(documented == table, "put this between the two `<!-- table -->` lines of docs/security.md:\n{table}");
}
