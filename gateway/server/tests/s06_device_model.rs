//! S05, S06, D15, D16: no sequence of connecting, approving, rotating and revoking lets anyone hold a scope that no
//! approval granted. The model below keeps its own books and never asks the gateway what is right.
//!
//! `PROPTEST_CASES=10000 cargo test -p openclaw-server --test s06_device_model` for the long run.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openclaw_platform::{Platform, SpawnerExt as _};
use openclaw_server::{gateway::Gateway, hub::Connection};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{Device, TOKEN, call, enter, gateway, local, remote};

const ROLES: [&str; 2] = ["operator", "node"];
const SCOPES: [&str; 6] =
    ["operator.read", "operator.write", "operator.pairing", "operator.approvals", "operator.admin", "bogus"];
const DEVICES: u8 = 3;

/// One step; indexes are taken modulo what is there.
#[derive(Debug, Clone)]
enum Step {
    /// `with`: 0 the shared secret, 1 the device's present token, else some token that was ever given out.
    Connect {
        device: Option<u8>,
        role: usize,
        scopes: u8,
        with: usize,
        local: bool,
    },
    Approve {
        by: usize,
        request: usize,
    },
    Reject {
        by: usize,
        request: usize,
    },
    Rotate {
        by: usize,
        device: u8,
        role: usize,
        scopes: Option<u8>,
    },
    Revoke {
        by: usize,
        device: u8,
        role: usize,
    },
    /// Seconds.
    Wait(u16),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..DEVICES;
    let role = prop_oneof![4 => Just(0usize), 1 => Just(1usize)];
    // One or two scopes are the common case; any set may come.
    let scopes = prop_oneof![3 => (0..6u8).prop_map(|n| 1 << n), 1 => 0..64u8];
    prop_oneof![
        8 => (prop::option::weighted(0.8, device.clone()), role.clone(), scopes.clone(), 0..8usize, prop::bool::weighted(0.4))
            .prop_map(|(device, role, scopes, with, local)| Step::Connect { device, role, scopes, with, local }),
        5 => (any::<usize>(), any::<usize>()).prop_map(|(by, request)| Step::Approve { by, request }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(by, request)| Step::Reject { by, request }),
        4 => (any::<usize>(), device.clone(), role.clone(), prop::option::of(scopes))
            .prop_map(|(by, device, role, scopes)| Step::Rotate { by, device, role, scopes }),
        2 => (any::<usize>(), device, role).prop_map(|(by, device, role)| Step::Revoke { by, device, role }),
        1 => (1..400u16).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

type Set = BTreeSet<&'static str>;
type Key = (u8, usize);

fn set(bits: u8) -> Set {
    SCOPES.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0).map(|(_, s)| *s).collect()
}

/// A live connection.
struct Live {
    connection: Arc<Connection>,
    device: Option<u8>,
    role: usize,
    scopes: Set,
}

/// A request, as it was asked.
struct Request {
    id: String,
    key: Key,
    scopes: Set,
    /// Decided or superseded.
    over: bool,
    until: u64,
}

#[derive(Default)]
struct Model {
    now: u64,
    granted: BTreeMap<Key, Set>,
    revoked: BTreeSet<Key>,
    token: BTreeMap<Key, String>,
    old_tokens: Vec<String>,
    requests: Vec<Request>,
    live: Vec<Live>,
}

impl Model {
    fn holds(caller: &Live, scope: &str) -> bool {
        caller.scopes.contains("operator.admin")
            || caller.scopes.contains(scope)
            || (scope == "operator.read" && caller.scopes.contains("operator.write"))
    }

    /// Operators with the pairing or admin scope; a device without admin for itself only.
    fn may(caller: &Live, device: u8) -> bool {
        let admin = caller.scopes.contains("operator.admin");
        let own = caller.device.is_none_or(|d| d == device);
        caller.role == 0 && (admin || (caller.scopes.contains("operator.pairing") && own))
    }

    fn note_token(&mut self, key: Key, token: &str) {
        if self.token.get(&key).map(String::as_str) != Some(token) {
            self.old_tokens.extend(self.token.insert(key, token.to_owned()));
        }
    }

    fn closed(&mut self, key: Key) {
        for l in self.live.iter().filter(|l| (l.device, l.role) == (Some(key.0), key.1)) {
            assert!(l.connection.outbox.is_closing(), "a connection of {key:?} outlived its token");
        }
        self.live.retain(|l| !l.connection.outbox.is_closing());
    }

    /// The promise itself.
    fn check(&self) {
        for l in &self.live {
            let Some(device) = l.device else { continue };
            let granted = self.granted.get(&(device, l.role)).cloned().unwrap_or_default();
            let held: Vec<&String> = l.connection.scopes.as_slice().iter().collect();
            assert!(held.iter().all(|s| granted.contains(s.as_str())), "{held:?} held, {granted:?} granted");
        }
    }
}

async fn run(steps: Vec<Step>) {
    let platform = openclaw_platform::os::without_files();
    let free = Arc::strong_count(&platform.storage);
    let mut gateway = support::gateway_on(platform.clone(), openclaw_config::Config::default());
    let mut m = Model::default();
    let devices: Vec<Device> = (0..DEVICES).map(|n| Device::new(n + 1)).collect();
    // The owner's own tool on this machine.
    connect(&gateway, &mut m, &devices, None, 0, set(0b01_0000), 0, true).await;
    for step in steps {
        match step {
            Step::Connect { device, role, scopes, with, local } => {
                connect(&gateway, &mut m, &devices, device, role, set(scopes), with, local).await;
            }
            Step::Approve { by, request } => approve(&gateway, &mut m, by, request).await,
            Step::Reject { by, request } => {
                let Some((by, r)) = pick(&m, by, request) else { continue };
                let (may, open) = (Model::may(&m.live[by], m.requests[r].key.0), open(&m, r));
                let params = json!({ "requestId": m.requests[r].id });
                let done = call(&gateway, &m.live[by].connection, "device.pair.reject", params).await;
                assert_eq!(done.is_ok(), may && open, "{done:?}");
                m.requests[r].over |= done.is_ok();
            }
            Step::Rotate { by, device, role, scopes } => {
                rotate(&gateway, &mut m, &devices, by, (device, role), scopes.map(set)).await;
            }
            Step::Revoke { by, device, role } => {
                let by = by % m.live.len().max(1);
                let Some(caller) = m.live.get(by) else { continue };
                let (key, may) = ((device, role), Model::may(caller, device));
                let params = json!({ "deviceId": devices[usize::from(device)].id(), "role": ROLES[role] });
                let done = call(&gateway, &caller.connection, "device.token.revoke", params).await;
                assert_eq!(done.is_ok(), may && m.granted.contains_key(&key), "{done:?}");
                if done.is_ok() {
                    m.granted.remove(&key);
                    m.revoked.insert(key);
                    m.old_tokens.extend(m.token.remove(&key));
                    m.closed(key);
                }
            }
            Step::Wait(seconds) => {
                tokio::time::advance(Duration::from_secs(seconds.into())).await;
                m.now += u64::from(seconds);
            }
            Step::Restart => {
                m.live.clear();
                m.requests.iter_mut().for_each(|r| r.over = true);
                drop(gateway);
                released(&platform, free).await;
                gateway = support::gateway_on(platform.clone(), openclaw_config::Config::default());
                connect(&gateway, &mut m, &devices, None, 0, set(0b01_0000), 0, true).await;
            }
        }
        m.check();
    }
}

/// The committer of a gateway that is gone may still be at work on its thread; two databases on one file, which no lock
/// keeps apart here, would be this test's fault and not the gateway's.
async fn released(platform: &Platform, free: usize) {
    for _ in 0..2000 {
        if Arc::strong_count(&platform.storage) <= free {
            return;
        }
        #[allow(clippy::disallowed_methods)] // a thread is waited for, for which virtual time does not pass
        let nap = || std::thread::sleep(Duration::from_millis(1));
        platform.tasks.blocking(nap).await.unwrap();
    }
    panic!("the gateway that was stopped still holds its files");
}

#[allow(clippy::too_many_arguments)]
async fn connect(
    gateway: &Arc<Gateway>,
    m: &mut Model,
    devices: &[Device],
    device: Option<u8>,
    role: usize,
    scopes: Set,
    with: usize,
    is_local: bool,
) {
    let key = device.map(|d| (d, role));
    let present = key.and_then(|k| m.token.get(&k).cloned());
    let token = match with {
        0..3 => TOKEN.to_owned(),
        3..6 => present.clone().unwrap_or_else(|| "never given out".to_owned()),
        n => m.old_tokens.get(n % m.old_tokens.len().max(1)).cloned().unwrap_or_else(|| "guess".to_owned()),
    };
    let shared = token == TOKEN;
    let list: Vec<&str> = scopes.iter().copied().collect();
    // Operators that name none ask for all.
    let asked = if scopes.is_empty() && role == 0 { Set::from(["operator.admin"]) } else { scopes };
    let origin = if is_local { local() } else { remote(1) };
    let of = device.map(|d| &devices[usize::from(d)]);
    let got = enter(gateway, origin, of, ROLES[role], &list, &token).await;
    let Some(key) = key else {
        assert_eq!(got.is_ok(), shared && is_local, "without a device: {got:?}");
        if let Ok((connection, _)) = got {
            m.live.push(Live { connection, device: None, role, scopes: asked });
        }
        return;
    };
    let by_token = !shared && present.as_deref() == Some(token.as_str());
    if shared && is_local && !m.revoked.contains(&key) {
        m.granted.entry(key).or_default().extend(&asked);
    }
    let granted = m.granted.get(&key).is_some_and(|g| asked.is_subset(g));
    match got {
        Ok((connection, hello)) => {
            assert!(shared || by_token, "signed in with a stale or strange token");
            assert!(granted, "{asked:?} was never granted to {key:?}: {:?}", m.granted.get(&key));
            let auth = &hello["auth"];
            for scope in auth["scopes"].as_array().unwrap() {
                assert!(m.granted[&key].contains(scope.as_str().unwrap()), "the token is good for {scope}");
            }
            m.note_token(key, auth["deviceToken"].as_str().unwrap());
            let held: Set = SCOPES.iter().copied().filter(|s| connection.scopes.contains(s)).collect();
            assert_eq!(held, asked);
            m.live.push(Live { connection, device, role, scopes: asked });
        }
        Err(error) => {
            assert!(!(shared && granted), "refused although approved: {error}");
            if let Some(id) = error["details"]["requestId"].as_str() {
                assert!(shared, "a request without a credential");
                file(m, id, key, asked);
            }
        }
    }
}

/// D16: the same id for the same role and scopes, and nothing else of that device stays open.
fn file(m: &mut Model, id: &str, key: Key, scopes: Set) {
    let now = m.now;
    if let Some(known) = m.requests.iter().find(|r| r.id == id) {
        assert!(known.key == key && known.scopes == scopes && !known.over, "an id for something else");
        assert!(known.until > now, "an id that had expired");
        return;
    }
    for r in m.requests.iter_mut().filter(|r| r.key.0 == key.0) {
        r.over = true;
    }
    m.requests.push(Request { id: id.to_owned(), key, scopes, over: false, until: now + 300 });
}

fn pick(m: &Model, by: usize, request: usize) -> Option<(usize, usize)> {
    (!m.live.is_empty() && !m.requests.is_empty()).then(|| (by % m.live.len(), request % m.requests.len()))
}

fn open(m: &Model, r: usize) -> bool {
    !m.requests[r].over && m.requests[r].until > m.now
}

async fn approve(gateway: &Arc<Gateway>, m: &mut Model, by: usize, request: usize) {
    let Some((by, r)) = pick(m, by, request) else { return };
    let (caller, r_open) = (&m.live[by], open(m, r));
    let (key, scopes) = (m.requests[r].key, m.requests[r].scopes.clone());
    let held = scopes.iter().all(|s| Model::holds(caller, s));
    let own_new_role = caller.device == Some(key.0)
        && !caller.scopes.contains("operator.admin")
        && key.1 == 1
        && !m.granted.contains_key(&key);
    let params = json!({ "requestId": m.requests[r].id });
    let done = call(gateway, &caller.connection, "device.pair.approve", params).await;
    let expected = Model::may(caller, key.0) && r_open && held && !own_new_role;
    assert_eq!(done.is_ok(), expected, "{done:?} for {key:?} {scopes:?}");
    let Ok(Value::Object(answer)) = done else { return };
    assert!(!answer["device"].to_string().contains("\"token\":"), "the secret is not for who approves");
    m.requests[r].over = true;
    m.granted.entry(key).or_default().extend(scopes);
    m.revoked.remove(&key);
    // The new secret is told at the next hello.
    m.old_tokens.extend(m.token.remove(&key));
}

async fn rotate(gateway: &Arc<Gateway>, m: &mut Model, devices: &[Device], by: usize, key: Key, scopes: Option<Set>) {
    if m.live.is_empty() {
        return;
    }
    let caller = &m.live[by % m.live.len()];
    let mut params = json!({ "deviceId": devices[usize::from(key.0)].id(), "role": ROLES[key.1] });
    if let Some(scopes) = &scopes {
        params["scopes"] = json!(scopes);
    }
    let may = Model::may(caller, key.0);
    let holder: Vec<&str> = SCOPES.iter().copied().filter(|s| Model::holds(caller, s)).collect();
    let done = call(gateway, &caller.connection, "device.token.rotate", params).await;
    let granted = m.granted.get(&key).cloned();
    let Ok(answer) = done else {
        if let (true, Some(granted), Some(scopes)) = (may, &granted, &scopes) {
            let fine = scopes.is_subset(granted) && scopes.iter().all(|s| holder.contains(s));
            assert!(!fine, "refused: {done:?}");
        }
        return;
    };
    assert!(may, "rotated by who may not");
    let Some(granted) = granted else { panic!("rotated what was never approved") };
    let new: Set = answer["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| SCOPES.iter().copied().find(|known| s == known).unwrap())
        .collect();
    assert!(new.is_subset(&granted), "{new:?} of {granted:?}");
    assert!(new.iter().all(|s| holder.contains(s)), "{new:?} handed out by who holds {holder:?}");
    if let Some(scopes) = scopes {
        assert_eq!(new, scopes);
        m.granted.insert(key, scopes);
    }
    m.note_token(key, answer["token"].as_str().unwrap());
    m.closed(key);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s06_nobody_holds_what_no_approval_granted(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// A connection that is being closed carries out nothing more, even if its socket does not take the close frame.
#[tokio::test]
async fn s04_a_closing_connection_does_nothing_more() {
    let gateway = gateway();
    let device = Device::new(9);
    let (admin, _) = enter(&gateway, local(), None, "operator", &["operator.admin"], TOKEN).await.unwrap();
    let (own, _) = enter(&gateway, local(), Some(&device), "operator", &["operator.admin"], TOKEN).await.unwrap();
    let params = json!({ "deviceId": device.id(), "role": "operator" });
    call(&gateway, &admin, "device.token.revoke", params.clone()).await.unwrap();
    assert!(own.outbox.is_closing());
    // The response is not sent either, so that the effect is what counts: a note that another connection would see.
    let session = openclaw_server::sessions::key::defaults(&gateway.settings.get()).main_session_key;
    let _ = call(&gateway, &own, "system-event", json!({ "text": "still here" })).await;
    assert_eq!(gateway.system_events.peek(&session), Vec::<String>::new());
    // Only a person lets it in again, on this machine, too (D15).
    let refused = enter(&gateway, local(), Some(&device), "operator", &["operator.admin"], TOKEN).await.unwrap_err();
    assert_eq!(refused["code"], "NOT_PAIRED");
}
