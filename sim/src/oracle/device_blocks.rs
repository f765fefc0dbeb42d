//! The signed block of a device (S20): good for the connection whose nonce it carries, within ten minutes of its date; one without
//! a nonce, as version 1 made it, from the gateway's own machine alone, and once.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Expect, conn::Conn, facts::Facts, findings::Findings};
use crate::history::What;

/// How far its date may be from the gateway's clock, in milliseconds.
const SKEW: u64 = 600_000;
/// Spread of times at clients.
const SLACK: u64 = 2_500;

/// What a connection was asked to sign: when it came, and the challenge.
pub type Challenges<'a> = BTreeMap<&'a str, (u64, &'a Value)>;

/// Of each connection.
pub fn challenges<'a>(facts: &Facts<'a>) -> Challenges<'a> {
    let mut all = Challenges::new();
    for r in facts.history {
        if let What::Received { conn, frame } = &r.what
            && frame["event"] == "connect.challenge"
        {
            all.entry(conn.as_str()).or_insert((r.t_us, &frame["payload"]));
        }
    }
    all
}

/// Checks every block.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let challenges = challenges(facts);
    // Blocks without a nonce that were taken, by their signature, in one life of the process.
    let mut used: BTreeMap<(usize, &str), u64> = BTreeMap::new();
    let mut all: Vec<&Conn> = conns.iter().filter(|c| c.opening.is_some()).collect();
    all.sort_by_key(|c| c.hello.as_ref().map(|h| h.at.i).or(c.refusal.map(|a| a.at.i)));
    for c in all {
        let (Some((sent, frame)), Some((came, challenge))) = (c.opening, challenges.get(c.name)) else { continue };
        let block = &frame["params"]["device"];
        let (Some(signature), Some(date), Some(ts)) =
            (block["signature"].as_str(), block["signedAt"].as_u64(), challenge["ts"].as_u64())
        else {
            continue;
        };
        let Some(end) = c.hello.as_ref().map(|h| h.at).or(c.refusal.map(|a| a.at)) else { continue };
        let now = ts + (sent.t - came) / 1000;
        let jumped = facts.faults.iter().any(|f| f.kind == "clock_jump" && (c.opened.t..=end.t).contains(&f.from));
        let off = now.abs_diff(date);
        let nonce = block["nonce"].as_str();
        let is_local = expect.local.iter().any(|local| local == c.client);
        let before = used.get(&(c.life, signature)).copied();
        let reason = c.refusal.as_ref().map_or("", |a| a.reason());
        // Credential and pairing are looked at after it: their refusals tell that it was taken.
        let taken = c.hello.is_some() || reason.starts_with("AUTH_") || reason.starts_with("PAIRING_");
        let mut say = |oracle: &'static str, why: String| out.broken(oracle, end.i, format!("{}: {why}", c.name));
        if taken {
            if nonce.is_some_and(|nonce| challenge["nonce"] != nonce) {
                say("refusals", "its device has signed for another connection, and is taken".into());
            }
            if nonce.is_none() && !is_local {
                say("refusals", "its device has signed no nonce, and does not come from this machine".into());
            }
            if off > SKEW + SLACK && !jumped {
                say("refusals", format!("its device has signed {off} ms from now, and is taken"));
            }
            if let Some(at) = before.filter(|_| nonce.is_none()) {
                let ms = (end.t - at) / 1000;
                say("refusals", format!("its device's block was used {ms} ms ago, and is taken once more"));
            }
            if nonce.is_none() {
                used.entry((c.life, signature)).or_insert(end.t);
            }
            continue;
        }
        match reason {
            "DEVICE_AUTH_SIGNATURE_EXPIRED" if off + SLACK < SKEW && !jumped => {
                say("admitted", format!("its device has signed {off} ms from now, and that is too far"));
            }
            "DEVICE_AUTH_SIGNATURE_REPLAYED" if before.is_none() => {
                say("admitted", "its device's block was never used, and counts as used".into());
            }
            "DEVICE_AUTH_NONCE_MISMATCH" if nonce.is_none_or(|nonce| challenge["nonce"] == nonce) => {
                say("admitted", "its device has signed the nonce that it was given, and that is another one".into());
            }
            "DEVICE_AUTH_NONCE_REQUIRED" if nonce.is_some() || is_local => {
                say("admitted", "a nonce is asked for that is there, or that nobody needs here".into());
            }
            _ => {}
        }
    }
}
