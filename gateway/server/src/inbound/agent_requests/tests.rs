//! Requests for runs, asked of the service by itself: no connection and no wire.

use std::{sync::Mutex, time::Duration};

use openclaw_platform::{os, sync::LockExt as _};
use openclaw_protocol::{params::SendPolicy, scope::Scopes};
use serde_json::json;

use super::{describe::reply_to, *};
use crate::{
    ServerOptions,
    gateway::Gateway,
    sessions::entry::{Route, SessionEntry},
};

/// A gateway's services with the model that repeats what it is told, and two agents.
fn services() -> (Arc<Gateway>, Arc<AgentRequests>) {
    let text = "{agents:{defaults:{model:'builtin/echo'},list:[{id:'main'},{id:'ops'}]}}";
    let config = openclaw_config::parse(text, &|_| None).unwrap().config;
    let gateway = Gateway::open(os::without_files(), ServerOptions::bare(Arc::new(config))).unwrap();
    let requests = AgentRequests::new(Deps {
        clock: gateway.platform.clock.clone(),
        tasks: gateway.platform.tasks.clone(),
        settings: gateway.settings.clone(),
        channels: gateway.channels.clone(),
        delivery: gateway.delivery.clone(),
        idempotency: gateway.idempotency.clone(),
        runs: gateway.runs.clone(),
        sessions: gateway.sessions.clone(),
    });
    (gateway, Arc::new(requests))
}

fn operator(scope: &str) -> Principal {
    Principal::Operator { scopes: Scopes::new([scope.to_owned()]) }
}

/// Parameters with the key `k`.
fn params(more: Value) -> AgentParams {
    let mut all = json!({ "message": "hi", "idempotencyKey": "k" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// What a caller was told at the end.
#[derive(Clone, Default)]
struct Caller(Arc<Mutex<Vec<End>>>);

impl Caller {
    async fn asks(&self, requests: &Arc<AgentRequests>, more: Value) -> Result<Requested, NotRequested> {
        let told = self.0.clone();
        let tell = move |end| told.locked().push(end);
        requests.take(&operator("operator.write"), "shared", params(more), tell).await
    }
    /// Status and error of each end.
    fn told(&self) -> Vec<(String, Option<String>)> {
        let ends = self.0.locked();
        let one = |(payload, error): &End| {
            let status = payload.as_ref().and_then(|p| p["status"].as_str()).unwrap_or_default().to_owned();
            (status, error.as_ref().and_then(Told::reason).map(str::to_owned))
        };
        ends.iter().map(one).collect()
    }
}

fn begins(requested: Requested) -> Box<dyn FnOnce() + Send> {
    match requested {
        Requested::Accepted(_, begins) => begins,
        Requested::AnsweredBefore(_) => panic!("answered before"),
        Requested::UnderWay(_) => panic!("under way"),
    }
}

async fn ended(gateway: &Gateway, run: &str) {
    let _ = gateway.runs.wait(run, Duration::from_mins(1)).await;
    gateway.runs.answered().await;
}

#[tokio::test(start_paused = true)]
async fn d34_nothing_begins_before_whoever_asked_is_told() {
    let (gateway, requests) = services();
    let caller = Caller::default();
    let begins = begins(caller.asks(&requests, json!({ "sessionKey": "main" })).await.unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(gateway.runs.live("k").unwrap().started_at().is_none());
    assert_eq!(caller.told(), []);
    begins();
    ended(&gateway, "k").await;
    assert_eq!(caller.told(), [("ok".to_owned(), None)]);
}

/// A caller who went away before he could be told is no reason not to run, and the key has its answer (F13, F16).
#[tokio::test(start_paused = true)]
async fn f13_a_run_whose_caller_is_gone_goes_on_and_answers_its_key() {
    let (gateway, requests) = services();
    let caller = Caller::default();
    drop(begins(caller.asks(&requests, json!({ "sessionKey": "main" })).await.unwrap()));
    ended(&gateway, "k").await;
    let again = caller.asks(&requests, json!({ "sessionKey": "main" })).await.unwrap();
    assert!(matches!(again, Requested::AnsweredBefore(AgentAnswer::Final(end)) if end.status == "ok"));
}

#[tokio::test(start_paused = true)]
async fn f16_one_key_is_one_run_whose_end_one_caller_hears() {
    let (gateway, requests) = services();
    let (first, second) = (Caller::default(), Caller::default());
    let begins = begins(first.asks(&requests, json!({ "sessionKey": "main" })).await.unwrap());
    assert!(matches!(second.asks(&requests, json!({ "sessionKey": "main" })).await, Ok(Requested::UnderWay(_))));
    let other = second.asks(&requests, json!({ "sessionKey": "other" })).await;
    assert!(matches!(other, Err(NotRequested::Key(idempotency::Refused::OtherParameters))));
    begins();
    ended(&gateway, "k").await;
    assert_eq!((first.told().len(), second.told().len()), (1, 0));
}

/// Version 3 clients expect that to be accepted, and to fail then.
#[tokio::test(start_paused = true)]
async fn a_request_without_a_session_is_accepted_and_fails_then() {
    let (_gateway, requests) = services();
    let caller = Caller::default();
    let begins = begins(caller.asks(&requests, json!({})).await.unwrap());
    assert_eq!(caller.told(), []);
    begins();
    assert_eq!(caller.told(), [("error".to_owned(), Some("NO_SESSION_SELECTOR".to_owned()))]);
    let again = caller.asks(&requests, json!({})).await;
    assert!(matches!(again, Err(NotRequested::Earlier(_))), "the key is answered");
}

/// Each refusal by its parameter, none of which uses the key up (D19).
#[tokio::test(start_paused = true)]
async fn d19_a_refused_request_leaves_its_key_free() {
    let (gateway, requests) = services();
    let caller = Caller::default();
    for (key, change) in [
        ("agent:main:named", (|e| e.label = Some("taken".into())) as fn(&mut SessionEntry)),
        ("agent:main:closed", |e| e.send_policy = Some(SendPolicy::Deny)),
    ] {
        gateway.sessions.update(key, 1, change, |_, _| Ok(())).await.unwrap();
    }
    type Is = fn(&NotRequested) -> bool;
    let refusals: [(Value, Is); 11] = [
        (json!({ "sessionKey": "main", "channel": "fax" }), |e| matches!(e, NotRequested::UnknownChannel(_))),
        (json!({ "sessionKey": "main", "replyChannel": "fax" }), |e| matches!(e, NotRequested::UnknownChannel(_))),
        (json!({ "agentId": "nobody" }), |e| matches!(e, NotRequested::UnknownAgent(_))),
        (json!({ "sessionKey": "../etc" }), |e| matches!(e, NotRequested::BadSessionKey(_))),
        (json!({ "sessionKey": "agent:ops:x", "agentId": "main" }), |e| matches!(e, NotRequested::OtherAgent)),
        (json!({ "sessionId": "none" }), |e| matches!(e, NotRequested::NoSession(_))),
        (json!({ "sessionKey": "fresh", "label": "taken" }), |e| matches!(e, NotRequested::LabelInUse(_))),
        (json!({ "sessionKey": "named", "label": "new" }), |e| matches!(e, NotRequested::Refused(_))),
        (json!({ "sessionKey": "closed" }), |e| matches!(e, NotRequested::Closed(_))),
        (json!({ "sessionKey": "main", "thinking": "hard" }), |e| matches!(e, NotRequested::Thinking(_))),
        (json!({ "sessionKey": "main", "deliver": true }), |e| matches!(e, NotRequested::NoRoute)),
    ];
    for (more, is) in refusals {
        match caller.asks(&requests, more.clone()).await {
            Err(error) => assert!(is(&error), "{more}: {error}"),
            Ok(_) => panic!("{more}: taken"),
        }
    }
    begins(caller.asks(&requests, json!({ "sessionKey": "main" })).await.unwrap())();
}

/// sessionKey, else the session id, else the agent, else `to`.
#[tokio::test]
async fn the_session_is_what_names_it_most_exactly() {
    let (gateway, requests) = services();
    let (entry, ()) = gateway.sessions.update("agent:ops:work", 1, |_| {}, |_, _| Ok(())).await.unwrap();
    let id = entry.session_id;
    for (more, key, shown) in [
        (json!({ "sessionKey": " Main ", "sessionId": id, "to": "1" }), "agent:main:main", "Main"),
        (json!({ "sessionId": id, "agentId": "main", "to": "1" }), "agent:ops:work", "agent:ops:work"),
        (json!({ "agentId": "OPS", "to": "1" }), "agent:ops:main", "agent:ops:main"),
        (json!({ "to": "1" }), "agent:main:main", "agent:main:main"),
    ] {
        let (identity, params) = (more.to_string(), params(more));
        let Check::New(claim) = gateway.idempotency.check("agent", &identity, "k", &params, 1).unwrap() else {
            panic!("{key}: not new")
        };
        let request = requests.describe(&operator("operator.write"), &params, &claim).unwrap().unwrap();
        assert_eq!((request.session_key.as_str(), request.shown_key.as_str()), (key, shown));
    }
}

/// Where a reply goes, by what is named and by where the session last heard from.
#[test]
fn a_reply_goes_where_it_is_named_else_where_the_session_last_heard_from() {
    let last = Route { channel: "telegram".into(), to: "7".into(), account_id: "a".into() };
    let heard = SessionEntry { delivery_context: Some(last), ..SessionEntry::default() };
    let to = |more: Value, entry: Option<&SessionEntry>| {
        let found = reply_to(&params(more), entry).map_err(|_| ())?;
        Ok(found.map(|found| format!("{} {} {}", found.route.channel, found.route.to, found.route.account_id)))
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    let deliver = json!({ "deliver": true });
    let with = |more: Value| {
        let mut all = deliver.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(to(json!({ "to": "9", "channel": "telegram" }), Some(&heard)), Ok(None), "nothing is to be delivered");
    assert_eq!(to(deliver.clone(), Some(&heard)), some("telegram 7 a"));
    assert_eq!(to(deliver.clone(), None), Err(()));
    assert_eq!(to(with(json!({ "to": "9" })), Some(&heard)), some("telegram 9 a"));
    assert_eq!(to(with(json!({ "to": "9", "channel": "telegram" })), None), some("telegram 9 "));
    assert_eq!(to(with(json!({ "channel": "telegram" })), Some(&heard)), some("telegram 7 a"));
    assert_eq!(to(with(json!({ "channel": "whatsapp" })), Some(&heard)), Err(()), "nobody wrote through that one");
    assert_eq!(to(with(json!({ "channel": "last" })), Some(&heard)), some("telegram 7 a"));
    assert_eq!(to(with(json!({ "channel": "webchat" })), Some(&heard)), Ok(None));
    let both = json!({ "channel": "telegram", "to": "9", "replyTo": "10", "replyAccountId": "b", "accountId": "a" });
    assert_eq!(to(with(both), None), some("telegram 10 b"), "what is said of the reply counts");
}
