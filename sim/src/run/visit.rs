//! Connections that are not meant well: opened, misused, and watched until the gateway ends them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_platform::sync::LockExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::{TOKEN, client::Start, device, socket};
use crate::{history::What, plan::Opening};

/// A visitor that is not thrown out goes after this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// One visit, the `n`th of its client.
pub(super) async fn visit(start: Start, n: usize, opening: Opening) {
    let conn = format!("{}/v{n}", start.plan.name);
    let closed =
        |code, reason: &str, by_client| What::Closed { conn: conn.clone(), code, reason: reason.to_owned(), by_client };
    let ended = match &opening {
        Opening::Bytes { text, pause_ms } => match socket::connect(&*start.net, start.plan.via).await {
            Err(error) => return start.failed(error),
            Ok(io) => {
                start.opened(&conn);
                start.record(What::Sent { conn: conn.clone(), frame: json!({ "raw": text }) });
                let (mut reader, mut writer) = tokio::io::split(io);
                let write = async {
                    for byte in text.as_bytes() {
                        if writer.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let read = async {
                    let mut answer = [0; 1024];
                    while let Ok(1..) = reader.read(&mut answer).await {}
                };
                openclaw_platform::select! {
                    () = read => closed(None, "ended", false),
                    () = write => closed(None, "ended", false),
                    () = tokio::time::sleep(PATIENCE) => closed(None, "out of patience", true),
                }
            }
        },
        Opening::Frame { .. } | Opening::Silence | Opening::Signed { .. } => {
            let mut ws = match socket::open(&*start.net, &start.plan).await {
                Err(error) => return start.failed(error),
                Ok(ws) => ws,
            };
            start.opened(&conn);
            let first = match &opening {
                Opening::Frame { text } => Some(text.clone()),
                Opening::Signed { ahead_ms } => match ws.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let challenge = start.decode(&text);
                        let frame = signed(&start, &challenge["payload"], *ahead_ms);
                        start.record(What::Received { conn: conn.clone(), frame: challenge });
                        frame.map(|frame| frame.to_string())
                    }
                    _ => return start.record(closed(None, "ended", false)),
                },
                _ => None,
            };
            if let Some(text) = &first {
                let frame = serde_json::from_str(text).unwrap_or_else(|_| json!({ "raw": text }));
                start.record(What::Sent { conn: conn.clone(), frame });
                // A failure shows on reading.
                let _ = ws.send(Message::text(text.as_str())).await;
            }
            let read = async {
                loop {
                    match ws.next().await {
                        Some(Ok(Message::Text(text))) => {
                            let frame = start.decode(&text);
                            start.record(What::Received { conn: conn.clone(), frame });
                        }
                        Some(Ok(Message::Close(frame))) => {
                            let (code, reason) =
                                frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
                            let _ = ws.flush().await;
                            break closed(Some(code), &reason, false);
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break closed(None, &socket::said(&error), false),
                        None => break closed(None, "ended", false),
                    }
                }
            };
            openclaw_platform::select! {
                ended = read => ended,
                () = tokio::time::sleep(PATIENCE) => closed(None, "out of patience", true),
            }
        }
    };
    start.record(ended);
}

/// A first frame that the client's device has signed without a nonce, dated so far from the challenge; the last one again for `None`.
fn signed(start: &Start, challenge: &Value, ahead_ms: Option<i64>) -> Option<Value> {
    let Some(ahead) = ahead_ms else { return start.signed.locked().clone() };
    let (plan, key) = (&start.plan, start.plan.device.as_ref()?.key());
    let mut params = json!({
        "minProtocol": 3, "maxProtocol": 3, "role": plan.role, "scopes": plan.scopes,
        "auth": { "token": plan.token.as_deref().unwrap_or(TOKEN) },
        "client": { "id": "test", "mode": plan.mode, "version": "1", "platform": "sim", "displayName": plan.name,
            "instanceId": plan.name },
    });
    let at = challenge["ts"].as_u64().unwrap_or_default().saturating_add_signed(ahead);
    params["device"] = device::block(&key, &params, at, None);
    let frame = json!({ "type": "req", "id": "hello", "method": "connect", "params": params });
    *start.signed.locked() = Some(frame.clone());
    Some(frame)
}
