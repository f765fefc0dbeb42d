//! Names from outside that must not become something else: request paths (S08), session keys and ids (S11), targets of
//! messages.
//!
//! The first byte chooses which.

use std::sync::LazyLock;

use crate::World;
use openclaw_channels::telegram::fuzzing::parse_target;
use openclaw_config::{Config, Path};
use openclaw_server::sessions::key;

static CONFIG: LazyLock<Config> = LazyLock::new(Config::default);

/// One input.
pub fn run(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match which % 8 {
        0 => request(text),
        1..=4 => session(text),
        5 => target(text),
        _ => config_path(text),
    }
}

/// Only the routes themselves answer, not what some other reader might take for them.
fn request(path: &str) {
    if path.contains(['\r', '\n']) {
        return;
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    World::with(|world| {
        answer = world.visit(async |mut socket| {
            socket.send(request.as_bytes()).await;
            socket.rest().await
        });
        false
    });
    match answer.get(9..12).unwrap_or_default() {
        b"200" => {
            // A request may name the host as well; within a query that means nothing.
            let absolute = path.split_once("://").filter(|_| !path.starts_with('/'));
            let named = absolute.map(|(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
            let route = named.unwrap_or(path).split(['?', '#']).next().unwrap_or_default();
            assert!(["/healthz", "/readyz"].contains(&route), "{path:?} reached a route");
        }
        b"400" | b"401" | b"403" | b"404" | b"405" | b"414" | b"426" => {}
        _ => panic!("{path:?}: {}", answer.escape_ascii()),
    }
}

/// A canonical key is its own canonical form, and no part of a file system's path.
fn session(text: &str) {
    let Some(canonical) = key::canonical(&CONFIG, text) else { return };
    assert_eq!(key::canonical(&CONFIG, &canonical).as_deref(), Some(canonical.as_str()), "{text:?}");
    assert!(!canonical.contains(['/', '\\']) && !canonical.chars().any(char::is_control), "{canonical:?}");
    assert!(["global", "unknown"].contains(&canonical.as_str()) || canonical.starts_with("agent:"), "{canonical:?}");
    let agent = key::agent_of(&CONFIG, &canonical);
    assert!(!agent.is_empty() && agent.trim() == agent, "{canonical:?} belongs to {agent:?}");
}

fn target(text: &str) {
    let Some(target) = parse_target(text) else { return };
    let again = match target.thread {
        Some(thread) => format!("{}:topic:{thread}", target.chat),
        None => target.chat.clone(),
    };
    assert_eq!(parse_target(&again), Some(target));
}

fn config_path(text: &str) {
    let Ok(path) = Path::parse(text) else { return };
    assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path), "{text:?}");
}
