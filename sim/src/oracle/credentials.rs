//! The shared secret and its changes (S04): each handshake is judged by what the configuration, or the file that it names, says in
//! that moment; who signed in with an older one is sent away soon; and a secret that cannot be read is none, and ends nothing.

use std::collections::{BTreeMap, BTreeSet};

use openclaw_config::AuthMode;
use serde_json::Value;

use super::{
    Expect,
    conn::Conn,
    facts::{Facts, Mark},
    findings::Findings,
};

/// The gateway looks by itself this often; whoever comes makes it look at once. In microseconds.
const LOOKS: u64 = 5_000_000;
/// A connection that must end has ended within this time.
const ENDS_WITHIN: u64 = 3_000_000;
/// A refusal of a secret that cannot be read.
const UNREADABLE: &str = "CREDENTIAL_FILE";

/// What a configuration says of the shared secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    is_password: bool,
    text: String,
}

/// What is in force from a moment on; no secret where its file cannot be read.
#[derive(Debug)]
struct Span {
    from: u64,
    secret: Option<Secret>,
}

/// Follows the edits of a configuration that said this at first.
fn spans(first: &str, facts: &Facts) -> Vec<Span> {
    let (mut text, mut files) = (first.to_owned(), BTreeMap::<&str, &str>::new());
    let mut all = vec![Span { from: 0, secret: of(first, &files).unwrap_or_default() }];
    for f in facts.faults.iter().filter(|f| f.kind == "config_edit") {
        let content = f.json["text"].as_str().unwrap_or_default();
        match f.json["file"].as_str() {
            Some(file) => _ = files.insert(file, content),
            None => content.clone_into(&mut text),
        }
        // A configuration that cannot be used changes nothing.
        let Ok(secret) = of(&text, &files) else { continue };
        if all.last().is_none_or(|last| last.secret != secret) {
            all.push(Span { from: f.from, secret });
        }
    }
    all
}

/// The secret of a configuration; an error where that cannot be used, `None` where its file has none.
fn of(text: &str, files: &BTreeMap<&str, &str>) -> Result<Option<Secret>, String> {
    let auth = crate::plan::config_of(text)?.gateway.auth;
    let is_password =
        auth.mode.map_or(auth.password.is_some() || auth.password_file.is_some(), |m| m == AuthMode::Password);
    let (own, file) = if is_password { (auth.password, auth.password_file) } else { (auth.token, auth.token_file) };
    if let Some(own) = own {
        return Ok(Some(Secret { is_password, text: own.expose().to_owned() }));
    }
    let file = file.ok_or("no secret and no file")?;
    let content = files.get(file.as_str()).map(|text| text.trim()).filter(|text| !text.is_empty());
    Ok(content.map(|text| Secret { is_password, text: text.to_owned() }))
}

/// Checks every handshake, and who must go.
pub fn check(conns: &[Conn], facts: &Facts, expect: &Expect, out: &mut Findings) {
    let spans = spans(&expect.config, facts);
    if !facts.faults.iter().any(|f| f.kind == "config_edit") {
        return;
    }
    let given = conns.iter().filter_map(|c| c.hello.as_ref()?.payload["auth"]["deviceToken"].as_str());
    let rotated = conns.iter().flat_map(|c| &c.requests).filter(|r| r.method == "device.token.rotate");
    let rotated = rotated.filter_map(|r| r.first?.frame["payload"]["token"].as_str());
    let own: BTreeSet<&str> = given.chain(rotated).collect();
    for c in conns {
        let Some((sent, frame)) = c.opening.filter(|(_, f)| f["method"] == "connect") else { continue };
        let auth = &frame["params"]["auth"];
        let by_device = auth["token"].as_str().is_some_and(|token| own.contains(token));
        if !by_device {
            judged(c, sent, auth, &spans, out);
        }
        ends(c, sent, by_device, conns, &spans, facts, out);
    }
}

/// What may have been in force between two moments: an edit takes no time.
fn in_force(spans: &[Span], from: u64, to: u64) -> impl Iterator<Item = &Span> {
    let until = |n: usize| spans.get(n + 1).map_or(u64::MAX, |next| next.from);
    spans.iter().enumerate().filter(move |(n, s)| s.from <= to && until(*n) >= from).map(|(_, s)| s)
}

fn takes(secret: &Secret, auth: &Value) -> bool {
    auth[if secret.is_password { "password" } else { "token" }] == secret.text.as_str()
}

/// It was let in, or not, by a secret that was in force meanwhile.
fn judged(c: &Conn, sent: Mark, auth: &Value, spans: &[Span], out: &mut Findings) {
    let now = |to: u64| in_force(spans, sent.t, to);
    let fits = |s: &Span| s.secret.as_ref().is_some_and(|secret| takes(secret, auth));
    if let Some(hello) = &c.hello {
        if !now(hello.at.t).any(fits) {
            out.broken("revocation", hello.at.i, format!("{}: was let in by a secret that is not in force", c.name));
        }
        return;
    }
    let Some(refusal) = c.refusal else { return };
    let reason = refusal.reason();
    let is_judged = reason.starts_with("AUTH_") && reason != "AUTH_RATE_LIMITED";
    if is_judged && now(refusal.at.t).all(fits) {
        out.broken("revocation", refusal.at.i, format!("{}: was refused ({reason}) with the secret in force", c.name));
    }
    if is_judged && now(refusal.at.t).all(|s| s.secret.is_none()) {
        let text = format!("{}: was told {reason}, and nobody can know the secret now", c.name);
        out.broken("revocation", refusal.at.i, text);
    }
    let kind = |s: &Span| s.secret.as_ref().map(|secret| secret.is_password);
    let told = Some(reason.starts_with("AUTH_PASSWORD_"));
    let names_mode = reason.starts_with("AUTH_PASSWORD_") || reason.starts_with("AUTH_TOKEN_");
    if is_judged && names_mode && now(refusal.at.t).all(|s| s.secret.is_some() && kind(s) != told) {
        out.broken("revocation", refusal.at.i, format!("{}: was told {reason}, which is not the mode", c.name));
    }
    if reason == UNREADABLE && now(refusal.at.t).all(|s| s.secret.is_some()) {
        out.broken(
            "revocation",
            refusal.at.i,
            format!("{}: the secret can be read, and it was told it cannot", c.name),
        );
    }
}

/// Another secret is in force: who came by an older one is sent away, and nobody else.
fn ends(c: &Conn, sent: Mark, by_device: bool, conns: &[Conn], spans: &[Span], facts: &Facts, out: &mut Findings) {
    let Some(hello) = &c.hello else { return };
    let mut held = in_force(spans, sent.t, hello.at.t).filter_map(|s| s.secret.as_ref());
    let Some(first) = held.next() else { return };
    let is_clear = held.next().is_none();
    // A file that cannot be read puts nothing else in force.
    let other = spans.iter().find(|s| s.from > hello.at.t && s.secret.as_ref().is_some_and(|secret| secret != first));
    let lost = c.lost().filter(|end| end.reason == "credential rotated");
    if let Some(end) = lost {
        if by_device {
            out.broken("revocation", end.at.i, format!("{}: came by its own token, and is sent away", c.name));
        } else if is_clear && other.is_none_or(|s| s.from > end.at.t) {
            out.broken("revocation", end.at.i, format!("{}: is sent away, and its secret is in force", c.name));
        }
    }
    let Some(change) = other.filter(|_| !by_device && is_clear) else { return };
    let looked = conns.iter().filter(|o| o.life == c.life).filter_map(|o| {
        let (asked, _) = o.opening?;
        let end = o.hello.as_ref().map(|h| h.at.t).or(o.refusal.map(|a| a.at.t))?;
        (asked.t > change.from && o.name != c.name).then_some(end)
    });
    let by = looked.min().unwrap_or(u64::MAX).min(change.from + LOOKS + facts.stores) + ENDS_WITHIN;
    let by = by + facts.slow_disk_between(change.from, by);
    // Back to what it came by before anybody looked.
    let back = spans.iter().any(|s| s.from > change.from && s.from < by && s.secret.as_ref() == Some(first));
    let quiet = !c.is_disturbed(facts, change.from, by) && !c.is_orphan(facts, by) && facts.finish() > by;
    if c.until(facts) > by && quiet && !back {
        let text = format!("{}: still there {} ms after its secret was replaced", c.name, (by - change.from) / 1000);
        out.broken("revocation", c.closed.map_or(c.opened.i, |e| e.at.i), text);
    }
}
