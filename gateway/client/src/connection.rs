//! One live connection: a reading task, a writing task, and the handle that callers hold.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{
    SinkExt as _, Stream, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use openclaw_platform::{Platform, SpawnerExt as _, select};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Call, CallError, Final},
    calls::Calls,
    closed::Closed,
    connect::{self, ConnectError, Socket},
    event::{ClientEvent, EventQueue, RawEvent, Sequence},
    options::ConnectOptions,
    shared::Shared,
    tick_watch::{TickWatch, Verdict},
};

/// Requests in flight; further callers wait within their own timeout.
const MAX_CALLS: usize = 256;
/// Requests waiting to be written.
const OUTGOING: usize = 64;
/// A gateway that takes no bytes for this long is gone.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// For the closing handshake.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// Used when hello-ok names none; the bounds keep a strange value from spinning or from waiting for ever.
const TICK_INTERVAL: Duration = Duration::from_secs(30);
const TICK_BOUNDS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_mins(10));

enum Outgoing {
    Request(String),
    Ping,
}

/// A connected gateway client. Clones share the connection; it closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outgoing")
    }
}

impl Client {
    /// Connects, answers the challenge and waits for hello-ok, all within `options.connect_timeout`.
    ///
    /// # Errors
    /// [`ConnectError`] says what was found and what to do.
    pub async fn connect(platform: &Platform, options: ConnectOptions) -> Result<Self, ConnectError> {
        let greeted = connect::connect(platform, &options).await?;
        let events = EventQueue::new(options.max_events, options.max_event_bytes);
        Ok(Self::start(platform, greeted.socket, greeted.hello, events))
    }

    fn start(platform: &Platform, socket: Socket, hello: Value, events: EventQueue) -> Self {
        let (min, max) = TICK_BOUNDS;
        let interval = hello["policy"]["tickIntervalMs"].as_u64().map_or(TICK_INTERVAL, Duration::from_millis);
        let watch = TickWatch::new(interval.clamp(min, max), platform.clock.mono(), platform.clock.wall());
        let shared = Arc::new(Shared {
            hello,
            calls: Calls::default(),
            permits: Arc::new(Semaphore::new(MAX_CALLS)),
            events,
            end: OnceLock::new(),
            ended: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        let (outgoing, requests) = mpsc::channel(OUTGOING);
        let (sink, stream) = socket.split();
        let reader = Reader {
            platform: platform.clone(),
            shared: shared.clone(),
            outgoing: outgoing.downgrade(),
            watch,
            sequence: Sequence::default(),
        };
        platform.tasks.spawn("client-read", reader.run(stream));
        platform.tasks.spawn("client-write", write(shared.clone(), sink, requests));
        Self { shared, outgoing }
    }

    /// The payload of hello-ok: server, features, snapshot, policy.
    pub fn hello(&self) -> &Value {
        &self.shared.hello
    }

    /// Calls `method` and waits for its response. Many calls may be in flight.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, method: &str, params: Value, timeout: Duration) -> Result<Value, CallError> {
        let work = async { self.begin(method, params).await?.response(timeout).await };
        tokio::time::timeout(timeout, work).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    /// Calls a method that answers twice (`agent`): waits for the response after the one that says `accepted`.
    ///
    /// # Errors
    /// [`CallError`]; a run that failed is [`CallError::Gateway`] with its payload.
    pub async fn call_final(&self, method: &str, params: Value, timeout: Duration) -> Result<Final, CallError> {
        let work = async {
            let mut call = self.begin(method, params).await?;
            let first = call.response(timeout).await?;
            if first["status"] != "accepted" {
                return Ok(Final { accepted: None, payload: first });
            }
            let payload = call.response(timeout).await?;
            Ok(Final { accepted: Some(first), payload })
        };
        tokio::time::timeout(timeout, work).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    /// Sends a request; its responses are taken from the [`Call`] one by one. Waits while too many are in flight.
    ///
    /// # Errors
    /// [`CallError::Closed`].
    pub async fn begin(&self, method: &str, params: Value) -> Result<Call, CallError> {
        let shared = self.shared.clone();
        let closed = || CallError::Closed(self.shared.closed_now());
        let permit = select! {
            () = self.ended() => return Err(closed()),
            permit = shared.permits.clone().acquire_owned() => permit.map_err(|_| closed())?,
        };
        let (id, answers) = shared.calls.open().ok_or_else(closed)?;
        let request = json!({ "type": "req", "id": id, "method": method, "params": params });
        let call = Call { id, answers, shared, _permit: permit };
        self.outgoing.send(Outgoing::Request(request.to_string())).await.map_err(|_| closed())?;
        Ok(call)
    }

    /// The next event; none when the connection has ended and every event was taken. Cancel-safe.
    pub async fn next_event(&self) -> Option<ClientEvent> {
        self.shared.events.next().await
    }

    /// The events as a stream. Consumers share one queue: each event is delivered once.
    pub fn events(&self) -> impl Stream<Item = ClientEvent> + Send + '_ {
        futures_util::stream::unfold(self, |client| async move { Some((client.next_event().await?, client)) })
    }

    /// How the connection ended, once it has. Cancel-safe.
    pub async fn closed(&self) -> Closed {
        self.ended().await;
        self.shared.closed_now()
    }

    /// True when the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.shared.ended.is_cancelled()
    }

    /// Closes the connection (1000) and waits, at most about a second, until the gateway was told.
    pub async fn close(&self) {
        self.shared.end(Closed::new(1000, ""), true);
        let _ = tokio::time::timeout(CLOSE_WAIT * 2, self.shared.gone.cancelled()).await;
    }

    async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }
}

struct Reader {
    platform: Platform,
    shared: Arc<Shared>,
    /// Weak, so that the writer notices when the last handle is gone.
    outgoing: mpsc::WeakSender<Outgoing>,
    watch: TickWatch,
    sequence: Sequence,
}

impl Reader {
    async fn run(mut self, mut stream: SplitStream<Socket>) {
        let ended = self.shared.ended.clone();
        let mut look_again = self.platform.clock.mono();
        loop {
            select! {
                () = ended.cancelled() => break,
                message = stream.next() => {
                    self.watch.heard(self.platform.clock.mono());
                    self.take(message);
                }
                () = tokio::time::sleep_until(look_again) => look_again = self.look(),
            }
        }
        // The other side's close frame, so that its last bytes are not answered with a reset.
        let drain = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(CLOSE_WAIT, drain).await;
        self.shared.gone.cancel();
    }

    /// Is it still alive? Gives the time of the next look.
    fn look(&mut self) -> openclaw_platform::Mono {
        let now = self.platform.clock.mono();
        match self.watch.check(now, self.platform.clock.wall()) {
            Verdict::Alive(next) => next,
            Verdict::Probe(next) => {
                if let Some(outgoing) = self.outgoing.upgrade() {
                    // A full queue is being written, which is as good a probe.
                    let _ = outgoing.try_send(Outgoing::Ping);
                }
                next
            }
            Verdict::Dead => {
                self.shared.end(Closed::new(4000, "tick timeout"), true);
                now
            }
        }
    }

    fn take(&mut self, message: Option<Result<Message, tungstenite::Error>>) {
        match message {
            Some(Ok(Message::Text(text))) => self.frame(&text),
            Some(Ok(Message::Close(frame))) => self.shared.end(Closed::from_frame(frame), false),
            Some(Ok(_)) => {}
            Some(Err(tungstenite::Error::Capacity(e))) => self.shared.end(Closed::new(1009, &e.to_string()), true),
            Some(Err(e)) => self.shared.end(Closed::lost(&e.to_string()), false),
            None => self.shared.end(Closed::lost("end of stream"), false),
        }
    }

    fn frame(&mut self, text: &str) {
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            self.shared.end(Closed::new(1008, "invalid frame"), true);
            return;
        };
        match frame["type"].as_str() {
            Some("res") => self.shared.calls.answer(frame),
            Some("event") => {
                let Some(event) = RawEvent::from_frame(frame) else { return };
                if let Some(gap) = event.seq.and_then(|seq| self.sequence.take(seq)) {
                    self.shared.events.push(gap, 0);
                }
                self.shared.events.push(ClientEvent::Event(event), text.len());
            }
            // A newer gateway may have more kinds of frames.
            _ => {}
        }
    }
}

/// Writes requests until the connection ends or the last handle is dropped.
async fn write(shared: Arc<Shared>, mut sink: SplitSink<Socket, Message>, mut requests: mpsc::Receiver<Outgoing>) {
    let ended = shared.ended.clone();
    loop {
        let outgoing = select! {
            () = ended.cancelled() => break,
            outgoing = requests.recv() => outgoing,
        };
        let message = match outgoing {
            Some(Outgoing::Request(text)) => Message::text(text),
            Some(Outgoing::Ping) => Message::Ping(Bytes::new()),
            None => {
                shared.end(Closed::new(1000, ""), true);
                break;
            }
        };
        let sent = select! {
            () = ended.cancelled() => break,
            sent = tokio::time::timeout(WRITE_WAIT, sink.send(message)) => sent,
        };
        let lost = match sent {
            Ok(Ok(())) => continue,
            Ok(Err(e)) => Closed::lost(&e.to_string()),
            Err(_) => Closed::lost("the gateway takes no bytes"),
        };
        // A close frame that is still on its way in says more than a failed write.
        let _ = tokio::time::timeout(CLOSE_WAIT, ended.cancelled()).await;
        shared.end(lost, false);
    }
    if let Some((closed, true)) = shared.end.get() {
        let _ = tokio::time::timeout(CLOSE_WAIT, sink.send(Message::Close(Some(closed.frame())))).await;
    }
    let _ = tokio::time::timeout(CLOSE_WAIT, sink.close()).await;
}
