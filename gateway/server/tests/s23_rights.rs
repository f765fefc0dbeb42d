//! S23, S24, S28, S32, D46 to D48: who may cause what. The matrix below was written from the decisions, not from the code:
//! a principal or an effect that is new has to be added here by hand.

#![allow(clippy::unwrap_used)]

mod support;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use openclaw_config::{Config, DmScope};
use openclaw_platform::EntropyExt as _;
use openclaw_protocol::{message::Content, scope::Scopes};
use openclaw_server::{
    gateway::Gateway,
    inbound::address,
    rights::{Effect, Principal, Rights, Standing, Where, may},
    runs::{Run, RunRequest, Toolbox as _},
    sessions::entry::{Route, SessionEntry},
};
use support::gateway_on;

/// What each principal may: in its own session (`own`) and in others, in the order of [`EFFECTS`]; `+` may, `.` may not.
///
/// | see own | see others | run own | run others | stop own | stop others | change own | change others | commands |
/// | send to own chat | send elsewhere | decide | configure |
const MATRIX: &[(&str, &str)] = &[
    ("the gateway itself", "++ ++ ++ ++ + ++ + +"),
    ("an operator without scopes", ".. .. .. .. . .. . ."),
    ("an operator with read", "++ .. .. .. . .. . ."),
    ("an operator with write", "++ ++ ++ .. . ++ . ."),
    ("an operator with approvals", ".. .. .. .. . .. + ."),
    ("an operator with pairing", ".. .. .. .. . .. . ."),
    ("an operator with admin", "++ ++ ++ ++ + ++ + +"),
    ("the owner in a chat", "++ ++ ++ ++ + ++ + +"),
    ("a person alone in a session", "+. +. +. +. . +. . ."),
    ("a person who shares a session", "+. +. .. .. . +. . ."),
    ("a node", "+. +. .. .. . .. . ."),
    ("a node, session and chat bound", "++ ++ .. .. . +. . ."),
    ("a hook", ".. .. .. .. . .. . ."),
];

/// The principals who get commands when `tools.exec.callers` names them.
const CALLERS: [&str; 5] =
    ["an operator with write", "a person alone in a session", "a person who shares a session", "a node", "a hook"];

const EFFECTS: [&str; 13] = [
    "see own session",
    "see others",
    "run in own",
    "run in others",
    "stop own",
    "stop others",
    "change own",
    "change others",
    "commands",
    "send to own chat",
    "send elsewhere",
    "decide",
    "change the configuration",
];

const OWN: &str = "agent:main:telegram:dm:7";

fn route(to: &str) -> Route {
    Route { channel: "telegram".into(), to: to.into(), account_id: "default".into() }
}

fn person(standing: Standing) -> Principal {
    let text = |t: &str| t.to_owned();
    let (channel, account, chat, session) = (text("telegram"), text("default"), text("7"), text(OWN));
    Principal::Person { channel, account, id: text("7"), chat, session, standing }
}

fn principal(name: &str) -> Principal {
    let scopes = |list: &[&str]| Scopes::new(list.iter().map(|s| format!("operator.{s}")));
    let node = |id: &str| Principal::Node { id: id.into() };
    match name {
        "the gateway itself" => Principal::Gateway,
        "the owner in a chat" => person(Standing::Owner),
        "a person alone in a session" => person(Standing::Alone),
        "a person who shares a session" => person(Standing::Sharing),
        "a node" => node("n"),
        "a node, session and chat bound" => node("bound"),
        "a hook" => Principal::Hook { name: "h".into() },
        "an operator without scopes" => Principal::Operator { scopes: scopes(&[]) },
        _ => Principal::Operator { scopes: scopes(&[name.rsplit(' ').next().unwrap()]) },
    }
}

fn config(more: &str) -> Config {
    let text = format!(
        "{{ agents: {{ defaults: {{ model: 'builtin/echo' }} }}, channels: {{ telegram: {{ botToken: '1:A', allowFrom: [42, 7] }} }},
           gateway: {{ nodes: {{ bind: {{ bound: {{ sessions: ['other'], targets: ['telegram:7'] }} }} }} }} {more} }}"
    );
    openclaw_config::parse(&text, &|_| None).unwrap().config
}

/// The effects in order, for a principal whose own session is `own`.
fn all(config: &Config, who: &Principal) -> String {
    let own = match who {
        Principal::Node { id } => format!("agent:main:node-{id}"),
        _ => OWN.to_owned(),
    };
    let (own, others) = (Where::Session(&own), Where::Session("agent:main:other"));
    let (here, elsewhere) = (route("7"), route("42"));
    let effects = [
        Effect::See(own),
        Effect::See(others),
        Effect::Run(own),
        Effect::Run(others),
        Effect::Stop(own),
        Effect::Stop(others),
        Effect::Change(own),
        Effect::Change(others),
        Effect::Commands,
        Effect::Send(Some(&here)),
        Effect::Send(Some(&elsewhere)),
        Effect::Decide,
        Effect::Configure,
    ];
    effects.iter().map(|effect| if may(config, who, *effect) { '+' } else { '.' }).collect()
}

fn plain(row: &str) -> String {
    row.split(' ').collect()
}

#[test]
fn s23_every_principal_and_every_effect() {
    let config = config("");
    for (name, row) in MATRIX {
        assert_eq!(all(&config, &principal(name)), plain(row), "{name}: {EFFECTS:?}");
    }
}

/// `tools.exec.callers` gives commands to whom it names, and nothing else to anybody (D47).
#[test]
fn s23_callers_get_commands_and_nothing_else() {
    let named = config(", tools: { exec: { callers: ['operator:write', 'telegram:7', 'node:n', 'hook:h'] } }");
    for (name, row) in MATRIX {
        let mut row = plain(row);
        if CALLERS.contains(name) {
            row.replace_range(8..9, "+");
        }
        assert_eq!(all(&named, &principal(name)), row, "{name}");
    }
    let others =
        config(", tools: { exec: { callers: ['telegram:70', 'node:bound2', '*', 'telegram', 'operator:read'] } }");
    for (name, row) in MATRIX {
        assert_eq!(all(&others, &principal(name)), plain(row), "{name}");
    }
}

/// A text enters a run of somebody else only if its author may do at least as much. Written from S23: those who may do
/// everything among each other; nobody else enters a run of another kind.
#[test]
fn s23_who_may_enter_whose_run() {
    let config = config("");
    let rights = |name: &str| Rights::of(&config, &principal(name), OWN);
    let whole = ["the gateway itself", "an operator with admin", "the owner in a chat"];
    for (author, _) in MATRIX {
        for (of, _) in MATRIX {
            let expected = author == of || whole.contains(author);
            // Those with fewer scopes of one kind cover those with fewer still.
            let operators = author.starts_with("an operator") && of.starts_with("an operator");
            if !operators && !of.contains("without scopes") {
                let both_nodes = author.starts_with("a node") && of.starts_with("a node");
                let persons = *author == "a person alone in a session" && *of == "a person who shares a session";
                let covers = rights(author).cover(&rights(of));
                assert_eq!(covers, expected || both_nodes || persons || weaker(author, of), "{author} into {of}");
            }
        }
    }
    assert!(!rights("an operator with write").cover(&rights("an operator with admin")));
    assert!(!rights("a person alone in a session").cover(&rights("the owner in a chat")));
}

/// Operators with fewer rights still cover what may do nothing beyond its own session.
fn weaker(author: &str, of: &str) -> bool {
    let nothing = ["a person who shares a session", "a node", "a node, session and chat bound", "a hook"];
    author.starts_with("an operator") && nothing.contains(&of)
}

/// Where private chats are one session, each is answered in his own chat: no text of one enters, or ends, a run of another.
#[test]
fn s32_people_who_share_a_session_enter_no_run_of_each_other() {
    let config = config("");
    let of_chat = |n: &str| match person(Standing::Sharing) {
        Principal::Person { channel, account, session, standing, .. } => {
            let chat = n.to_owned();
            let who = Principal::Person { channel, account, id: n.into(), chat, session, standing };
            Rights::of(&config, &who, OWN)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of_chat("7"), of_chat("7"));
    assert!(of_chat("7") != of_chat("9") && !of_chat("7").cover(&of_chat("9")));
    assert!(Rights::of(&config, &person(Standing::Owner), OWN).cover(&of_chat("9")));
}

fn run_of(gateway: &Gateway, who: &Principal) -> Arc<Run> {
    Arc::new(run(gateway, who))
}

fn run(gateway: &Gateway, who: &Principal) -> Run {
    let config = gateway.settings.get();
    let input = vec![Content::text("hi")];
    let request = RunRequest::new(who.clone(), "r".into(), OWN.into(), input, Duration::from_secs(1));
    Run::new(request, Rights::of(&config, who, OWN))
}

/// Tools that run commands are offered in runs of owners and of operators with admin, and of whom the configuration names
/// (S28, D47).
#[tokio::test]
async fn s28_tools_are_offered_by_principal() {
    for callers in [false, true] {
        let more = if callers {
            ", tools: { exec: { callers: ['operator:write', 'telegram:7', 'node:n', 'hook:h'] } }"
        } else {
            ""
        };
        let gateway = gateway_on(openclaw_platform::os::without_files(), config(more));
        for (name, row) in MATRIX {
            let expected = plain(row).as_bytes()[8] == b'+' || (callers && CALLERS.contains(name));
            let offered = gateway.tools.for_run(
                &gateway.runs,
                &run_of(&gateway, &principal(name)),
                &SessionEntry::default(),
                &[],
            );
            assert_eq!(!offered.is_empty(), expected, "{name}");
        }
    }
}

/// A run that an agent asked for has no tools, whoever is behind it.
#[tokio::test]
async fn s28_a_nested_run_has_no_tools() {
    let gateway = gateway_on(openclaw_platform::os::without_files(), config(""));
    let mut nested = run(&gateway, &Principal::Gateway);
    nested.request.is_nested = true;
    assert!(
        !gateway
            .tools
            .for_run(&gateway.runs, &run_of(&gateway, &Principal::Gateway), &SessionEntry::default(), &[])
            .is_empty()
    );
    assert!(gateway.tools.for_run(&gateway.runs, &Arc::new(nested), &SessionEntry::default(), &[]).is_empty());
}

/// A tool reaches no further than who asked for the run, also when its run may have commands (D47, D48).
#[tokio::test]
async fn s23_a_tool_reaches_no_further_than_its_principal() {
    let gateway =
        gateway_on(openclaw_platform::os::without_files(), config(", tools: { exec: { callers: ['telegram:7'] } }"));
    for key in [OWN, "agent:main:main"] {
        gateway.sessions.update(key, 1, |e| e.updated_at = 1, |_, _| Ok(())).await.unwrap();
    }
    let guest = run_of(&gateway, &person(Standing::Alone));
    let tools = gateway.tools.for_run(&gateway.runs, &guest, &SessionEntry::default(), &[]);
    let say = async |name: &str, arguments: serde_json::Value| {
        let tool = tools.iter().find(|t| t.spec().name == name).unwrap();
        let output = tool.call(arguments).await;
        (output.is_error, output.text)
    };
    let (_, list) = say("sessions_list", serde_json::json!({})).await;
    assert!(list.contains(OWN) && !list.contains("agent:main:main"), "{list}");
    for (name, arguments) in [
        ("sessions_history", serde_json::json!({"sessionKey": "main"})),
        ("sessions_send", serde_json::json!({"sessionKey": "main", "message": "hi"})),
        ("message_send", serde_json::json!({"to": "42", "channel": "telegram", "message": "hi"})),
    ] {
        let (failed, why) = say(name, arguments).await;
        assert!(failed && why.contains("not yours"), "{name}: {why}");
    }
    assert!(!say("sessions_history", serde_json::json!({"sessionKey": OWN})).await.0);
}

/// The queue refuses a run in a session that is not for who asks, whichever way it came (S24, D48).
#[tokio::test]
async fn s24_a_run_begins_only_where_its_principal_may() {
    let gateway: Arc<Gateway> = gateway_on(openclaw_platform::os::without_files(), config(""));
    for (name, row) in MATRIX {
        let who = principal(name);
        let own = match &who {
            Principal::Node { id } => format!("agent:main:node-{id}"),
            _ => OWN.to_owned(),
        };
        for (n, key) in [own.as_str(), "agent:main:other"].into_iter().enumerate() {
            let expected = plain(row).as_bytes()[2 + n] == b'+';
            let input = vec![Content::text("hi")];
            let request =
                RunRequest::new(who.clone(), gateway.http.ws.entropy.uuid(), key.into(), input, Duration::from_secs(1));
            assert_eq!(gateway.runs.submit(request).is_ok(), expected, "{name} in {key}");
        }
    }
}

/// Without `session.dmScope` strangers have sessions of their own; with it the file's word counts (S32, D46).
#[tokio::test]
async fn s32_who_shares_the_owners_session() {
    let of = |dm_scope: Option<DmScope>, sender: &str| {
        let mut config = config("");
        config.session.dm_scope = dm_scope;
        let gateway = gateway_on(openclaw_platform::os::without_files(), config.clone());
        match address::person(&gateway.channels, &config, "telegram", "default", &message(sender)) {
            Some(Principal::Person { session, standing, .. }) => (session, standing),
            other => panic!("{other:?}"),
        }
    };
    let own = "agent:main:telegram:dm:7".to_owned();
    assert_eq!(of(None, "42"), ("agent:main:main".into(), Standing::Owner));
    assert_eq!(of(None, "7"), (own.clone(), Standing::Alone));
    assert_eq!(of(Some(DmScope::Main), "7"), ("agent:main:main".into(), Standing::Sharing));
    assert_eq!(of(Some(DmScope::PerChannelPeer), "42").1, Standing::Owner);
    assert_eq!(of(Some(DmScope::PerChannelPeer), "7"), (own, Standing::Alone));
}

fn message(sender: &str) -> openclaw_channels::Inbound {
    openclaw_channels::Inbound {
        key: "1".into(),
        kind: openclaw_channels::ChatKind::Direct,
        chat: openclaw_channels::Target { chat: sender.into(), thread: None },
        title: None,
        sender: openclaw_channels::Sender { id: sender.into(), name: "Ann".into(), username: None },
        text: "hi".into(),
        media: vec![],
        message_id: "1".into(),
        quoted: None,
        sent_at: 0,
    }
}

/// The table of docs/security.md is the matrix above.
#[test]
fn the_documented_rights_are_the_ones_in_force() {
    let mut table = format!("| who | {} |\n|{}\n", EFFECTS.join(" | "), " --- |".repeat(EFFECTS.len() + 1));
    for (name, row) in MATRIX {
        let cells: Vec<&str> = plain(row).chars().map(|c| if c == '+' { "yes" } else { "-" }).collect();
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    }
    let page = include_str!("../../../docs/security.md");
    let documented = page.split("<!-- rights -->\n").nth(1).unwrap_or_default();
    assert!(documented == table, "put this between the two `<!-- rights -->` lines of docs/security.md:\n{table}");
}
