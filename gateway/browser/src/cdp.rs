//! One connection to a browser: calls go out, answers come back by their number, dialogs of pages are closed.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_platform::{BoxIo, Spawner, SpawnerExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use crate::{
    BrowserError,
    limits::{CALLS, CONNECT, MESSAGE_BYTES},
    protocol::{Call, HandleDialog},
};

/// A connection; it ends when it is dropped.
pub struct Cdp {
    calls: mpsc::Sender<Outgoing>,
    /// Cancelled when the connection has ended.
    ended: CancellationToken,
}

struct Outgoing {
    method: &'static str,
    params: Value,
    session: Option<String>,
    answer: oneshot::Sender<Result<Value, BrowserError>>,
}

/// What a browser sends: an answer (`id`) or an event (`method`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<Failed>,
    method: Option<String>,
    session_id: Option<String>,
}

#[derive(Deserialize)]
struct Failed {
    #[serde(default)]
    message: String,
}

impl Cdp {
    /// Connects to the browser at this address (`ws://127.0.0.1:18800/devtools/browser/ID`) over `io`.
    ///
    /// # Errors
    /// [`BrowserError::NoStart`].
    pub async fn connect(tasks: &dyn Spawner, url: &str, io: BoxIo) -> Result<Self, BrowserError> {
        let config =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
        let upgraded = tokio::time::timeout(CONNECT, client_async_with_config(url, io, Some(config))).await;
        let failed = |why: String| BrowserError::NoStart(format!("no DevTools connection to the browser: {why}"));
        let (socket, _) = upgraded
            .map_err(|_| failed(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|e| failed(e.to_string()))?;
        let (calls, outgoing) = mpsc::channel(CALLS);
        let ended = CancellationToken::new();
        let end = ended.clone();
        tasks.spawn("browser connection", async move {
            let _guard = end.drop_guard();
            serve(socket, outgoing).await;
        });
        Ok(Self { calls, ended })
    }

    /// True while it can be asked.
    pub fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Asks the browser (`session`: one of its pages).
    ///
    /// # Errors
    /// [`BrowserError::Page`] with the browser's words, [`BrowserError::Timeout`], [`BrowserError::Lost`].
    pub async fn call<C: Call>(
        &self,
        call: C,
        session: Option<&str>,
        time: Duration,
    ) -> Result<C::Answer, BrowserError> {
        let unfit = |e: serde_json::Error| BrowserError::Page(format!("{}: {e}", C::NAME));
        let (answer, answered) = oneshot::channel();
        let params = serde_json::to_value(call).map_err(unfit)?;
        let outgoing = Outgoing { method: C::NAME, params, session: session.map(str::to_owned), answer };
        let asked = async {
            self.calls.send(outgoing).await.map_err(|_| BrowserError::Lost)?;
            answered.await.map_err(|_| BrowserError::Lost)?
        };
        let told = tokio::time::timeout(time, asked).await.map_err(|_| BrowserError::Timeout(time.as_millis()))??;
        serde_json::from_value(told).map_err(unfit)
    }
}

async fn serve(socket: WebSocketStream<BoxIo>, mut outgoing: mpsc::Receiver<Outgoing>) {
    let (mut sink, mut stream) = socket.split();
    let mut waiting: BTreeMap<u64, oneshot::Sender<Result<Value, BrowserError>>> = BTreeMap::new();
    let mut next = 0_u64;
    loop {
        let text = openclaw_platform::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => match received(&text, &mut waiting) {
                    Some((method, params, session)) => {
                        next += 1;
                        frame(next, method, params, session)
                    }
                    None => continue,
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            call = outgoing.recv() => {
                let Some(Outgoing { method, params, session, answer }) = call else { return };
                next += 1;
                // Those whose callers have given up make room.
                waiting.retain(|_, answer| !answer.is_closed());
                waiting.insert(next, answer);
                frame(next, method, params, session)
            }
        };
        if sink.send(Message::text(text)).await.is_err() {
            return;
        }
    }
}

fn frame(id: u64, method: &str, params: Value, session: Option<String>) -> String {
    let mut frame = json!({ "id": id, "method": method, "params": params });
    if let Some(session) = session {
        frame["sessionId"] = session.into();
    }
    frame.to_string()
}

/// Hands an answer to who waits for it. Gives the call that an event asks for: nobody is there to close a dialog, and until
/// somebody does the page answers nothing.
fn received(
    text: &str,
    waiting: &mut BTreeMap<u64, oneshot::Sender<Result<Value, BrowserError>>>,
) -> Option<(&'static str, Value, Option<String>)> {
    let incoming: Incoming = serde_json::from_str(text).ok()?;
    if let Some(answer) = incoming.id.and_then(|id| waiting.remove(&id)) {
        let _ = answer.send(match incoming.error {
            Some(failed) => Err(BrowserError::Page(failed.message)),
            None => Ok(incoming.result),
        });
        return None;
    }
    let is_dialog = incoming.method.as_deref() == Some("Page.javascriptDialogOpening");
    is_dialog.then(|| (HandleDialog::NAME, json!({ "accept": false }), incoming.session_id))
}
