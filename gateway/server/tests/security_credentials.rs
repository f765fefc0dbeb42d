//! S03, S04, S05, S20 through the real handshake: what signs in, what does not, and for how long.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // how long something took is what is tested

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use openclaw_config::{AuthMode, Config, Secret};
use openclaw_platform::{BoxFuture, Command, Output, Platform, ProcessError, Processes, os};
use openclaw_server::{
    AuthInForce, SharedAuth,
    auth::{Origin, ServeClaim, hash_password},
    gateway::Gateway,
    limits::{AUTH_FAILURES, AUTH_FAILURES_IN_ALL, AUTH_LOCK_OUT},
};
use serde_json::{Value, json};
use support::{Device, TOKEN, connect, enter, gateway, gateway_on, hello, local, options, peer, remote};

fn shared(mode: AuthMode, secret: &str) -> SharedAuth {
    let secret = Some(Secret::new(secret));
    match mode {
        AuthMode::Token => SharedAuth { mode, token: secret, password: None, file: None },
        AuthMode::Password => SharedAuth { mode, token: None, password: secret, file: None },
    }
}

/// Wrong ones in every disguise, each from an address of its own: the next attempt is refused although it is right.
#[tokio::test(start_paused = true)]
async fn s03_every_credential_path_is_limited() {
    let gateway = gateway();
    let device = Device::new(1);
    enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let stranger = Device::new(7);
    let paths: [(&str, Origin, &Device); 3] = [
        ("the shared token with a device, far away", remote(1), &device),
        ("a device token for a device", remote(2), &device),
        ("a device nobody knows", remote(3), &stranger),
    ];
    for (what, from, with) in paths {
        for _ in 0..AUTH_FAILURES {
            let wrong =
                enter(&gateway, from.clone(), Some(with), "operator", &["operator.read"], "guess").await.unwrap_err();
            assert_eq!(wrong["details"]["code"], "AUTH_TOKEN_MISMATCH", "{what}");
            assert!(wrong["retryAfterMs"].is_null());
        }
        let right = enter(&gateway, from.clone(), Some(with), "operator", &["operator.read"], TOKEN).await.unwrap_err();
        assert_eq!(right["details"]["code"], "AUTH_RATE_LIMITED", "{what}");
        let wait = right["retryAfterMs"].as_u64().unwrap();
        assert!(right["retryable"] == true && wait > 0, "{right}");
        tokio::time::advance(Duration::from_millis(wait)).await;
        let later = enter(&gateway, from, Some(with), "operator", &["operator.read"], TOKEN).await;
        assert!(later.is_ok() || later.unwrap_err()["code"] == "NOT_PAIRED", "{what}");
    }
}

/// A token that nobody guesses.
const STRONG: &str = "9f86d081884c7d659a2feaa0c55ad015";

fn with_token(token: &str) -> Arc<Gateway> {
    let mut options = options(Config::default());
    options.auth = shared(AuthMode::Token, token);
    Gateway::open(os::without_files(), options).unwrap()
}

async fn guess(gateway: &Arc<Gateway>) -> Value {
    enter(gateway, local(), None, "operator", &[], "guess").await.unwrap_err()
}

/// A stale program on this machine locks nobody out who has a strong token or a device's own, and the pace holds for
/// every credential that could be guessed (D40).
#[tokio::test(start_paused = true)]
async fn f56_a_stale_program_locks_nobody_out_on_this_machine() {
    let gateway = with_token(STRONG);
    let device = Device::new(1);
    let (_, hello) = enter(&gateway, local(), Some(&device), "operator", &["operator.read"], STRONG).await.unwrap();
    let own = hello["auth"]["deviceToken"].as_str().unwrap();
    let start = tokio::time::Instant::now();
    for _ in 0..AUTH_FAILURES {
        assert_eq!(guess(&gateway).await["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "ten are answered at once");
    assert!(enter(&gateway, local(), None, "operator", &[], STRONG).await.is_ok());
    assert!(enter(&gateway, local(), Some(&device), "operator", &["operator.read"], own).await.is_ok());
    assert!(enter(&gateway, local(), Some(&Device::new(2)), "operator", &[], STRONG).await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO, "what nobody guesses never waits");
    assert_eq!(guess(&gateway).await["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert_eq!(start.elapsed(), Duration::from_secs(1), "the eleventh is judged a second later");
    // Many at once: one a second is judged, the others are told to come again within a second.
    let crowd = (0..20).map(|_| guess(&gateway));
    let answers = futures_util::future::join_all(crowd).await;
    assert_eq!(start.elapsed(), Duration::from_secs(4), "held for three seconds at most");
    let judged = answers.iter().filter(|e| e["details"]["code"] == "AUTH_TOKEN_MISMATCH").count();
    assert_eq!(judged, 3);
    for held in answers.iter().filter(|e| e["details"]["code"] != "AUTH_TOKEN_MISMATCH") {
        assert_eq!(held["details"]["code"], "AUTH_RATE_LIMITED");
        assert!(held["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0 && ms <= 1000), "{held}");
    }
    assert!(enter(&gateway, local(), None, "operator", &[], STRONG).await.is_ok());
}

/// A password, or a token that could be guessed, waits for its turn once ten were wrong: it does not tell itself from
/// wrong ones by being answered sooner.
#[tokio::test(start_paused = true)]
async fn f56_what_could_be_guessed_waits_for_its_turn_although_it_is_right() {
    for weak in [TOKEN, "changeme", "f81d4fae-7dec-41d0-a765-00a0c91e6bf6"] {
        let gateway = with_token(weak);
        for _ in 0..AUTH_FAILURES {
            guess(&gateway).await;
        }
        let start = tokio::time::Instant::now();
        assert!(enter(&gateway, local(), None, "operator", &[], weak).await.is_ok());
        assert_eq!(start.elapsed(), Duration::from_secs(1), "{weak}");
    }
    let mut options = options(Config::default());
    options.auth = shared(AuthMode::Password, STRONG);
    let gateway = Gateway::open(os::without_files(), options).unwrap();
    for _ in 0..AUTH_FAILURES {
        with_password(&gateway, local(), "guess").await.unwrap_err();
    }
    let start = tokio::time::Instant::now();
    with_password(&gateway, local(), STRONG).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

/// 127/8, ::1 and the machine's own addresses share the ten; elsewhere has its own lock-outs.
#[tokio::test(start_paused = true)]
async fn f56_this_machine_is_one_place() {
    let gateway = with_token(STRONG);
    let start = tokio::time::Instant::now();
    for n in 0..=AUTH_FAILURES {
        let client_ip = match n % 3 {
            0 => [127, 0, 0, n as u8].into(),
            1 => std::net::Ipv6Addr::LOCALHOST.into(),
            _ => [192, 168, 7, 7].into(),
        };
        let from = Origin { client_ip, local: n % 3 != 2, ..local() };
        let shared = enter(&gateway, from, Some(&Device::new(n as u8)), "operator", &[], "guess").await.unwrap_err();
        assert_eq!(shared["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    assert_eq!(start.elapsed(), Duration::from_secs(1), "the eleventh waits, from wherever on this machine");
    let proxied = Origin { client_ip: [127, 0, 0, 1].into(), ..remote(1) };
    for _ in 0..AUTH_FAILURES {
        let wrong =
            enter(&gateway, proxied.clone(), Some(&Device::new(1)), "operator", &[], "guess").await.unwrap_err();
        assert_eq!(wrong["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    let locked = enter(&gateway, proxied, Some(&Device::new(1)), "operator", &[], STRONG).await.unwrap_err();
    assert_eq!(locked["details"]["code"], "AUTH_RATE_LIMITED", "strangers behind a proxy are not this machine");
    assert!(enter(&gateway, local(), None, "operator", &[], STRONG).await.is_ok());
}

/// What counts and what does not (D40).
#[tokio::test(start_paused = true)]
async fn f56_missing_expired_and_unsigned_do_not_count_wrong_signatures_do() {
    let gateway = with_token(TOKEN);
    let device = Device::new(1);
    let now = gateway.platform.clock.wall();
    let start = tokio::time::Instant::now();
    for _ in 0..3 * AUTH_FAILURES {
        let missing = enter(&gateway, local(), Some(&device), "operator", &[], "").await.unwrap_err();
        assert_eq!(missing["details"]["code"], "AUTH_TOKEN_MISSING");
        let bare = enter(&gateway, local(), None, "operator", &[], "").await.unwrap_err();
        assert_eq!(bare["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
        let peer = peer(&gateway, local());
        let old = device.block("operator", &[], "guess", now - 601_000, Some(&peer.nonce));
        let expired = hello(&gateway, &peer, &connect("operator", &[], "guess", Some(old))).await.unwrap_err();
        assert_eq!(expired["details"]["code"], "DEVICE_AUTH_SIGNATURE_EXPIRED");
        let mut unsigned = device.block("operator", &[], "guess", now, None);
        unsigned.as_object_mut().unwrap().remove("signature");
        assert!(hello(&gateway, &peer, &connect("operator", &[], "guess", Some(unsigned))).await.is_err());
    }
    let wrongly_signed = async || {
        let peer = peer(&gateway, local());
        let block = device.block("operator", &[], "another", now, Some(&peer.nonce));
        hello(&gateway, &peer, &connect("operator", &[], TOKEN, Some(block))).await.unwrap_err()
    };
    for _ in 0..AUTH_FAILURES {
        assert_eq!(wrongly_signed().await["details"]["code"], "DEVICE_AUTH_SIGNATURE_INVALID");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(wrongly_signed().await["details"]["code"], "DEVICE_AUTH_SIGNATURE_INVALID");
    assert_eq!(start.elapsed(), Duration::from_secs(1), "ten wrong signatures were counted, and nothing else");
}

/// Under a flood of new names, clients that signed in before have turns of their own.
#[tokio::test(start_paused = true)]
async fn f56_turns_go_round_by_instance() {
    let gateway = with_token(TOKEN);
    let named = |token: &str, id: Option<&str>| {
        let mut frame = connect("operator", &[], token, None);
        if let Some(id) = id {
            frame["params"]["client"]["instanceId"] = id.into();
        }
        frame
    };
    let enter_as = async |frame: Value| hello(&gateway, &peer(&gateway, local()), &frame).await;
    enter_as(named(TOKEN, Some("mac"))).await.unwrap();
    enter_as(named(TOKEN, None)).await.unwrap();
    for _ in 0..AUTH_FAILURES {
        enter_as(named("guess", Some("mallory"))).await.unwrap_err();
    }
    let flood = futures_util::future::join_all((0..100).map(|n| enter_as(named("guess", Some(&format!("new {n}"))))));
    let own = async {
        tokio::task::yield_now().await;
        futures_util::future::join(enter_as(named(TOKEN, Some("mac"))), enter_as(named(TOKEN, None))).await
    };
    let (flood, (mac, unnamed)) = futures_util::future::join(flood, own).await;
    assert!(mac.is_ok() && unnamed.is_ok(), "by instanceId, and by client.id");
    assert!(flood.iter().all(Result::is_err));
}

/// The limiter holds for a right device token, too: it is not a way around it (PR 57647).
#[tokio::test(start_paused = true)]
async fn s03_a_device_token_is_no_way_around_the_lock_out() {
    let gateway = gateway();
    let device = Device::new(1);
    let (_, hello) = enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let own = hello["auth"]["deviceToken"].as_str().unwrap();
    for _ in 0..AUTH_FAILURES {
        enter(&gateway, remote(1), Some(&device), "operator", &["operator.read"], "guess").await.unwrap_err();
    }
    let locked = enter(&gateway, remote(1), Some(&device), "operator", &["operator.read"], own).await.unwrap_err();
    assert_eq!(locked["details"]["code"], "AUTH_RATE_LIMITED");
    assert!(enter(&gateway, remote(2), Some(&device), "operator", &["operator.read"], own).await.is_ok());
    tokio::time::advance(AUTH_LOCK_OUT).await;
    assert!(enter(&gateway, remote(1), Some(&device), "operator", &["operator.read"], own).await.is_ok());
}

/// Guesses from many addresses close the door for guesses from all of them, but not for a device's own token and not on
/// the machine itself.
#[tokio::test(start_paused = true)]
async fn s03_many_guessers_do_not_lock_the_owner_out() {
    let gateway = gateway();
    let device = Device::new(1);
    let (_, hello) = enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let own = hello["auth"]["deviceToken"].as_str().unwrap();
    for n in 0..AUTH_FAILURES_IN_ALL {
        let from = remote((n % 200) as u8);
        enter(&gateway, from, Some(&device), "operator", &["operator.read"], "guess").await.unwrap_err();
    }
    let locked = enter(&gateway, remote(250), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap_err();
    assert_eq!(locked["details"]["code"], "AUTH_RATE_LIMITED");
    assert!(enter(&gateway, remote(250), Some(&device), "operator", &["operator.read"], own).await.is_ok());
    assert!(enter(&gateway, local(), None, "operator", &[], TOKEN).await.is_ok());
}

/// No credential at all is a mistake, not a guess.
#[tokio::test(start_paused = true)]
async fn s03_what_is_missing_is_not_counted() {
    let gateway = gateway();
    for _ in 0..3 * AUTH_FAILURES {
        let error = enter(&gateway, remote(1), Some(&Device::new(1)), "operator", &[], "").await.unwrap_err();
        assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISSING");
    }
}

fn password(text: &str) -> Value {
    let mut frame = connect("operator", &[], "", None);
    frame["params"]["auth"] = json!({ "password": text });
    frame
}

async fn with_password(gateway: &Arc<Gateway>, from: Origin, text: &str) -> Result<(), Value> {
    let peer = peer(gateway, from);
    hello(gateway, &peer, &password(text)).await.map(drop)
}

/// A hash in the configuration: the password signs in, the hash does not, and guesses sent side by side are counted.
#[tokio::test]
async fn s03_hashed_passwords_are_limited_also_side_by_side() {
    let hash = hash_password(&os::OsEntropy, "correct horse").unwrap();
    let mut options = options(Config::default());
    options.auth = shared(AuthMode::Password, &hash);
    let gateway = Gateway::open(os::without_files(), options).unwrap();
    with_password(&gateway, local(), "correct horse").await.unwrap();
    assert_eq!(with_password(&gateway, local(), &hash).await.unwrap_err()["details"]["code"], "AUTH_PASSWORD_MISMATCH");
    let guesses = (0..40).map(|n| {
        let gateway = gateway.clone();
        async move {
            let guess = if n == 39 { "correct horse".to_owned() } else { format!("guess {n}") };
            let result = with_password(&gateway, local(), &guess).await;
            result.err().map(|e| e["details"]["code"].as_str().unwrap_or_default().to_owned())
        }
    });
    let results = futures_util::future::join_all(guesses).await;
    assert_eq!(results[39].as_deref(), Some("AUTH_RATE_LIMITED"), "the last one came too late");
    // Ten, and one a second while they were held.
    let told = results.iter().filter(|r| r.as_deref() == Some("AUTH_PASSWORD_MISMATCH")).count();
    assert!(told <= AUTH_FAILURES as usize + 3, "{told} guesses were answered");
}

/// A new secret ends the sessions of the old one and nobody else's; the old one opens nothing.
#[tokio::test]
async fn s04_rotation_ends_the_sessions_of_the_old_secret() {
    let gateway = gateway();
    let device = Device::new(1);
    let (by_secret, hello) =
        enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let own = hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
    let (bare, _) = enter(&gateway, local(), None, "operator", &[], TOKEN).await.unwrap();
    let (by_device, _) = enter(&gateway, local(), Some(&device), "operator", &["operator.read"], &own).await.unwrap();

    gateway.access.set(shared(AuthMode::Token, TOKEN));
    assert!(!bare.outbox.is_closing(), "the same secret again changes nothing");
    gateway.access.set(shared(AuthMode::Token, "another-secret"));
    assert!(by_secret.outbox.is_closing() && bare.outbox.is_closing());
    assert!(!by_device.outbox.is_closing(), "its own token was not rotated");
    assert!(enter(&gateway, local(), None, "operator", &[], TOKEN).await.is_err());
    assert!(enter(&gateway, local(), None, "operator", &[], "another-secret").await.is_ok());
    gateway.access.set(shared(AuthMode::Password, "p"));
    assert!(enter(&gateway, local(), None, "operator", &[], "another-secret").await.is_err());
    assert!(with_password(&gateway, local(), "p").await.is_ok());
}

/// The file of the secret is read for each handshake; while it cannot be read, nobody gets in on an old memory.
#[tokio::test]
async fn s04_the_secrets_file_is_read_again() {
    let content = Arc::new(Mutex::new(Some("first".to_owned())));
    let mut options = options(Config::default());
    options.auth = SharedAuth { file: Some("~/token".into()), ..shared(AuthMode::Token, "first") };
    let file = content.clone();
    options.read_secret = Arc::new(move |_| file.lock().unwrap().clone().ok_or(std::io::ErrorKind::NotFound.into()));
    let gateway = Gateway::open(os::without_files(), options).unwrap();
    let (old, _) = enter(&gateway, local(), None, "operator", &[], "first").await.unwrap();
    *content.lock().unwrap() = Some("second\n".into());
    let refused = enter(&gateway, local(), None, "operator", &[], "first").await.unwrap_err();
    assert_eq!(refused["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert!(old.outbox.is_closing());
    assert!(enter(&gateway, local(), None, "operator", &[], "second").await.is_ok());
    *content.lock().unwrap() = None;
    let unknown = enter(&gateway, local(), None, "operator", &[], "second").await.unwrap_err();
    assert_eq!((&unknown["code"], &unknown["details"]["code"]), (&json!("UNAVAILABLE"), &json!("CREDENTIAL_FILE")));
    assert!(!unknown.to_string().contains("~/token"), "where secrets stand is nobody's business");
}

/// `gateway.auth` is read at each handshake: the secret, its mode and what is allowed besides. A file that cannot be used
/// changes nothing.
#[tokio::test]
async fn s04_the_configuration_file_is_read_again_at_each_handshake() {
    let file: Arc<Mutex<Result<Option<AuthInForce>, String>>> = Arc::new(Mutex::new(Ok(None)));
    let says = |shared: SharedAuth, allow_deviceless| {
        *file.lock().unwrap() = Ok(Some(AuthInForce { shared, allow_tailscale: None, allow_deviceless }));
    };
    let mut options = options(Config::default());
    let read = file.clone();
    options.read_auth = Some(Arc::new(move || std::mem::replace(&mut *read.lock().unwrap(), Ok(None))));
    let gateway = Gateway::open(os::without_files(), options).unwrap();
    let enter_as = async |from, token: &str| enter(&gateway, from, None, "operator", &[], token).await;
    let (old, _) = enter_as(local(), TOKEN).await.unwrap();
    *file.lock().unwrap() = Err("the file is broken".into());
    assert!(enter_as(local(), TOKEN).await.is_ok(), "what was in force stays so");
    assert!(!old.outbox.is_closing());

    says(shared(AuthMode::Token, "another-secret"), false);
    let refused = enter_as(local(), TOKEN).await.unwrap_err();
    assert_eq!(refused["details"]["code"], "AUTH_TOKEN_MISMATCH");
    assert!(old.outbox.is_closing(), "sessions of the old one end");
    assert!(enter_as(local(), "another-secret").await.is_ok());

    assert_eq!(enter_as(remote(1), "another-secret").await.unwrap_err()["code"], "NOT_PAIRED");
    says(shared(AuthMode::Token, "another-secret"), true);
    assert!(enter_as(remote(1), "another-secret").await.is_ok());
    says(shared(AuthMode::Password, "p"), false);
    assert_eq!(enter_as(remote(1), "another-secret").await.unwrap_err()["code"], "NOT_PAIRED");
    assert!(enter_as(local(), "another-secret").await.is_err());
    assert!(with_password(&gateway, local(), "p").await.is_ok());
}

/// Handshakes at the same moment are all judged by the new secret, whichever of them read the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s04_nobody_slips_in_while_the_file_is_read() {
    for _ in 0..20 {
        let fresh = Arc::new(Mutex::new(Some(shared(AuthMode::Token, "another-secret"))));
        let mut options = options(Config::default());
        options.read_auth = Some(Arc::new(move || {
            let shared = fresh.lock().unwrap().take();
            Ok(shared.map(|shared| AuthInForce { shared, allow_tailscale: None, allow_deviceless: false }))
        }));
        let gateway = Gateway::open(os::without_files(), options).unwrap();
        let tries = (0..8).map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { enter(&gateway, local(), None, "operator", &[], TOKEN).await.is_ok() })
        });
        assert!(futures_util::future::join_all(tries).await.into_iter().all(|entered| !entered.unwrap()));
    }
}

/// The shared secret alone is good on this machine only; with a device, for what was approved.
#[tokio::test]
async fn s05_scopes_are_bound_to_the_credential() {
    let gateway = gateway();
    let device = Device::new(1);
    let far = enter(&gateway, remote(1), None, "operator", &["operator.admin"], TOKEN).await.unwrap_err();
    assert_eq!(far["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    let far = enter(&gateway, remote(1), Some(&device), "operator", &["operator.admin"], TOKEN).await.unwrap_err();
    assert_eq!(far["details"]["code"], "PAIRING_REQUIRED");
    let (_, hello) = enter(&gateway, local(), Some(&device), "operator", &["operator.read"], TOKEN).await.unwrap();
    let own = hello["auth"]["deviceToken"].as_str().unwrap();
    for origin in [local(), remote(1)] {
        for (role, scopes) in
            [("operator", vec!["operator.read", "operator.admin"]), ("operator", vec![]), ("node", vec![])]
        {
            let wider = enter(&gateway, origin.clone(), Some(&device), role, &scopes, own).await.unwrap_err();
            assert_eq!(wider["details"]["code"], "AUTH_TOKEN_MISMATCH", "{role} {scopes:?}");
        }
        gateway.access.set(shared(AuthMode::Token, TOKEN));
    }
    let other = enter(&gateway, local(), Some(&Device::new(2)), "operator", &["operator.read"], own).await.unwrap_err();
    assert_eq!(other["details"]["code"], "AUTH_TOKEN_MISMATCH", "another device's token");
}

fn read_scope() -> Vec<String> {
    vec!["operator.read".to_owned()]
}

/// A signed block is good for the connection, role, scopes, token and time it was made for, and for no other.
#[tokio::test]
async fn s20_a_signed_block_fits_one_connection_and_one_question() {
    let gateway = gateway();
    let device = Device::new(1);
    let now = gateway.platform.clock.wall();
    let code = |e: Value| e["details"]["code"].as_str().unwrap_or_default().to_owned();
    let fresh = || peer(&gateway, remote(1));

    let first = fresh();
    let block = device.block("operator", &read_scope(), TOKEN, now, Some(&first.nonce));
    let frame = connect("operator", &read_scope(), TOKEN, Some(block.clone()));
    assert_eq!(code(hello(&gateway, &first, &frame).await.unwrap_err()), "PAIRING_REQUIRED");
    // The same block on another connection.
    assert_eq!(code(hello(&gateway, &fresh(), &frame).await.unwrap_err()), "DEVICE_AUTH_NONCE_MISMATCH");
    // For another role, other scopes, another token, with another date.
    let admin = vec!["operator.admin".to_owned()];
    let joined = vec!["operator.read".to_owned(), "operator.write".to_owned()];
    let glued = vec!["operator.read,operator.write".to_owned()];
    for (what, signed, asked, role, token) in [
        ("role", &read_scope(), &read_scope(), "node", TOKEN),
        ("scopes", &read_scope(), &admin, "operator", TOKEN),
        ("a list that looks alike", &glued, &joined, "operator", TOKEN),
        ("a list that is not one", &glued, &glued, "operator", TOKEN),
        ("token", &read_scope(), &read_scope(), "operator", "another"),
    ] {
        let peer = fresh();
        let block = device.block("operator", signed, TOKEN, now, Some(&peer.nonce));
        let error = hello(&gateway, &peer, &connect(role, asked, token, Some(block))).await.unwrap_err();
        if what == "a list that looks alike" {
            // The text is the same; only the honest list is what a client signs.
            assert_eq!(code(error), "PAIRING_REQUIRED");
        } else {
            assert_eq!(code(error), "DEVICE_AUTH_SIGNATURE_INVALID", "{what}");
        }
    }
    for (at, expected) in [
        (now - 599_000, "PAIRING_REQUIRED"),
        (now - 601_000, "DEVICE_AUTH_SIGNATURE_EXPIRED"),
        (now + 602_000, "DEVICE_AUTH_SIGNATURE_EXPIRED"),
    ] {
        let peer = fresh();
        let block = device.block("operator", &read_scope(), TOKEN, at, Some(&peer.nonce));
        let error = hello(&gateway, &peer, &connect("operator", &read_scope(), TOKEN, Some(block))).await.unwrap_err();
        assert_eq!(code(error), expected);
    }
    // Without a nonce: on this machine, once.
    let v1 = connect("operator", &read_scope(), TOKEN, Some(device.block("operator", &read_scope(), TOKEN, now, None)));
    assert_eq!(code(hello(&gateway, &fresh(), &v1).await.unwrap_err()), "DEVICE_AUTH_NONCE_REQUIRED");
    assert!(hello(&gateway, &peer(&gateway, local()), &v1).await.is_ok());
    let again = hello(&gateway, &peer(&gateway, local()), &v1).await.unwrap_err();
    assert_eq!(code(again), "DEVICE_AUTH_SIGNATURE_REPLAYED");
}

/// `tailscale whois` that knows alice.
struct Whois(Mutex<Vec<Vec<String>>>);

impl Processes for Whois {
    fn which(&self, _: &str, _: Option<&std::path::Path>) -> Option<std::path::PathBuf> {
        None
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        self.0.lock().unwrap().push(command.argv);
        let stdout = br#"{"UserProfile":{"LoginName":"alice@example.com"}}"#.to_vec();
        Box::pin(async { Ok(Output { code: Some(0), stdout, stderr: vec![], truncated: false }) })
    }
}

#[tokio::test(start_paused = true)]
async fn s03_a_tailscale_identity_stands_for_the_secret_when_whois_confirms_it() {
    let whois = Arc::new(Whois(Mutex::default()));
    let platform = Platform { processes: whois.clone(), ..os::without_files() };
    let mut config = Config::default();
    config.gateway.auth.allow_tailscale = Some(true);
    let gateway = gateway_on(platform, config);
    let device = Device::new(1);
    let from = |login: &str, ip: &str| Origin {
        serve: Some(ServeClaim { ip: ip.parse().unwrap(), login: login.into() }),
        ..remote(1)
    };
    let ask = async |origin, token| enter(&gateway, origin, Some(&device), "operator", &["operator.read"], token).await;
    // It stands for the secret, not for the pairing.
    let error = ask(from(" Alice@Example.com", "100.64.0.5"), "").await.unwrap_err();
    assert_eq!(error["details"]["code"], "PAIRING_REQUIRED");
    assert_eq!(*whois.0.lock().unwrap(), [["tailscale", "whois", "--json", "100.64.0.5"]]);
    ask(from("alice@example.com", "100.64.0.5"), "").await.unwrap_err();
    assert_eq!(whois.0.lock().unwrap().len(), 1, "asked once a minute");
    let bare = enter(&gateway, from("alice@example.com", "100.64.0.5"), None, "operator", &[], "").await.unwrap_err();
    assert_eq!(bare["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    // Claims that are not confirmed count as guesses.
    for _ in 0..AUTH_FAILURES {
        let error = ask(from("mallory@example.com", "100.64.0.5"), "").await.unwrap_err();
        assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISSING");
    }
    assert_eq!(
        ask(from("alice@example.com", "100.64.0.5"), "").await.unwrap_err()["details"]["code"],
        "AUTH_RATE_LIMITED"
    );
}

/// Off unless the configuration says otherwise.
#[tokio::test]
async fn s05_tailscale_headers_mean_nothing_by_default() {
    let whois = Arc::new(Whois(Mutex::default()));
    let gateway = gateway_on(Platform { processes: whois.clone(), ..os::without_files() }, Config::default());
    let claim = ServeClaim { ip: [100, 64, 0, 5].into(), login: "alice@example.com".into() };
    let origin = Origin { serve: Some(claim), ..remote(1) };
    let error = enter(&gateway, origin, Some(&Device::new(1)), "operator", &[], "").await.unwrap_err();
    assert_eq!(error["details"]["code"], "AUTH_TOKEN_MISSING");
    assert!(whois.0.lock().unwrap().is_empty());
}

/// `tailscale status` of a machine with a name, and how often it was asked.
struct Status(Mutex<usize>, &'static str);

impl Processes for Status {
    fn which(&self, _: &str, _: Option<&std::path::Path>) -> Option<std::path::PathBuf> {
        None
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<Output, ProcessError>> {
        assert_eq!(command.argv[..3], ["tailscale", "status", "--json"]);
        *self.0.lock().unwrap() += 1;
        let stdout = self.1.as_bytes().to_vec();
        Box::pin(async { Ok(Output { code: Some(0), stdout, stderr: vec![], truncated: false }) })
    }
}

/// The machine's own tailnet name is asked for once a minute, however many requests name such a host.
#[tokio::test(start_paused = true)]
async fn s02_the_own_tailnet_name_comes_from_tailscale_and_is_kept() {
    for (said, name) in [
        (r#"{"Self":{"DNSName":"Box.tail1.ts.net."},"Peer":null}"#, Some("box.tail1.ts.net")),
        (r#"{"Self":{"DNSName":""}}"#, None),
        (r#"{"Self":{"DNSName":"evil.example."}}"#, None),
        ("not JSON", None),
    ] {
        let status = Arc::new(Status(Mutex::new(0), said));
        let gateway = gateway_on(Platform { processes: status.clone(), ..os::without_files() }, Config::default());
        let asked = (0..50).map(|_| gateway.access.credentials.tailnet_name());
        let names = futures_util::future::join_all(asked).await;
        assert!(names.iter().all(|n| n.as_deref() == name), "{said}: {names:?}");
        assert_eq!(*status.0.lock().unwrap(), 1, "{said}");
        tokio::time::advance(Duration::from_mins(2)).await;
        gateway.access.credentials.tailnet_name().await;
        assert_eq!(*status.0.lock().unwrap(), 2, "{said}");
    }
}
