//! A running gateway: whether it answers and is ready, and what it says of itself.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use openclaw_client::Pin;
use openclaw_platform::{http::HttpClient, tls::Tls};
use serde_json::{Value, json};

use super::{check::Check, problems};
use crate::{
    args::{ConnectionArgs, ReadArgs},
    client::{self, Connection},
    failure::Failure,
    lock::Holder,
    session::Session,
};

/// Bytes of an answer to `/readyz`.
const READY_BYTES: usize = 4096;

/// `gateway`, `gateway.ready`, `delivery`, and the gateway's problems under their own codes. `own`: what was found without it.
pub async fn checks(session: &Session, holder: Option<&Holder>, read: &ReadArgs, own: &[Check]) -> Vec<Check> {
    let timeout = Duration::from_millis(read.timeout);
    // The one that holds the lock, also when it was started with another port than the file's.
    let local = holder.and_then(|h| h.port).and_then(|port| client::running_url(session, port).ok());
    let args = ConnectionArgs { url: read.connection.url.clone().or(local), ..read.connection.clone() };
    match ask(session, &args, timeout).await {
        Err(failure) => {
            let command = session.paths.command();
            let (text, fix) = if holder.is_some() {
                let fix = format!("`{command} logs` and the log file say more; a restart may help");
                (format!("it runs, but does not answer: {failure}"), fix)
            } else {
                let fix = "see that it runs there, and gateway.remote in the configuration here".to_owned();
                (format!("the gateway elsewhere does not answer: {failure}"), fix)
            };
            vec![Check::error("gateway", text, fix)]
        }
        Ok((url, pin, status)) => {
            let sessions = status["sessions"]["count"].as_u64().unwrap_or(0);
            let told = problems::checks(&status, own);
            let mut checks = vec![Check::ok("gateway", format!("it answers at {url}; {sessions} sessions"))];
            // Why it is not ready is told below.
            checks.extend(
                ready(&url, pin.as_ref(), timeout).await.filter(|_| !told.iter().any(|c| c.id == "storage.refuses")),
            );
            if !told.iter().any(|check| check.id.starts_with("delivery.")) {
                let queued = status["delivery"]["queued"].as_u64().unwrap_or(0);
                checks.push(Check::ok("delivery", format!("{queued} messages wait to go out, none was given up")));
            }
            checks.extend(told);
            checks
        }
    }
}

async fn ask(
    session: &Session,
    args: &ConnectionArgs,
    timeout: Duration,
) -> Result<(String, Option<Pin>, Value), Failure> {
    let connection = Connection::open(session, args, timeout).await?;
    let status = connection.call("status", json!({})).await;
    connection.close().await;
    Ok((connection.url, connection.pin, status?))
}

/// What a supervisor would be told.
async fn ready(url: &str, pin: Option<&Pin>, timeout: Duration) -> Option<Check> {
    let id = "gateway.ready";
    let address = url.replacen("ws", "http", 1);
    let address = format!("{}/readyz", address.trim_end_matches('/'));
    let Ok(request) = Request::get(&address).body(Full::new(Bytes::new())) else {
        return Some(Check::note(id, format!("{address} cannot be asked")));
    };
    let tls = match pin.map(|pin| pin()) {
        None => Tls::new(),
        Some(Ok(fingerprint)) => Tls::pinned(fingerprint),
        Some(Err(why)) => return Some(Check::note(id, format!("{address} cannot be asked: {why}"))),
    };
    let answer = HttpClient::over(&client::platform(), tls).fetch(request, timeout, READY_BYTES).await;
    Some(
        match answer.map(|a| (a.status().is_success(), serde_json::from_slice::<Value>(a.body()).unwrap_or_default())) {
            Err(error) => Check::warn(id, format!("{address}: {error}"), "see the gateway's log"),
            Ok((true, _)) => Check::ok(id, "it accepts requests and messages"),
            Ok((false, body)) if body["reason"] == "storage" => {
                let text = "its database takes no writes at present, or was removed: nothing new is accepted";
                let fix = "`openclaw health` and the gateway's log say which; it goes on by itself once the disk takes writes \
                       again, or the file is back";
                Check::error(id, text, fix)
            }
            Ok((false, body)) => {
                let reason = body["reason"].as_str().unwrap_or("no reason given");
                Check::warn(id, format!("it is not ready: {reason}"), "ask again in a moment")
            }
        },
    )
}
