//! From a URL to hello-ok, and every way in which that can fail (manual: connection handshake; reference sheet 3 to 6).

use std::{io, sync::Mutex, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use openclaw_platform::{
    BoxIo, Platform,
    sync::LockExt as _,
    tls::{self, Mismatch, Tls},
};
use openclaw_protocol::{display, truncate};
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, error::ProtocolError, protocol::WebSocketConfig},
};

use crate::{
    closed::Closed,
    endpoint::{self, Endpoint},
    gateway_error::GatewayError,
    options::ConnectOptions,
};

/// The id of the connect request; later requests count from 1.
const CONNECT_ID: &str = "connect";
/// The largest message taken from a gateway.
const MAX_MESSAGE: usize = 25 << 20;
/// tungstenite's default of 128 KiB per connection is most of an idle client's memory.
const READ_BUFFER: usize = 4 << 10;
/// Characters of a refusal that a message repeats.
const SHOWN: usize = 200;
/// After a refusal the close frame follows at once; it is worth this long a wait.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

pub(crate) type Socket = WebSocketStream<BoxIo>;

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// The URL cannot be used.
    #[error("bad gateway URL {url:?}: {reason}")]
    BadUrl {
        /// Without credentials and query.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach the gateway at {url}: {reason}; {hint}")]
    Refused {
        /// Where.
        url: String,
        /// The network's reason.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// No TLS.
    #[error("no TLS connection to {url}: {reason}; {hint}")]
    Tls {
        /// Where.
        url: String,
        /// The TLS layer's reason.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The certificate is not the expected one; nothing was sent.
    #[error(
        "nothing was sent to {url}, for it shows another certificate: expected {}, found {}. If the gateway's certificate is new, \
         `openclaw gateway fingerprint` on its machine prints it: give that with --tls-fingerprint, or in \
         gateway.remote.tlsFingerprint. If it is not, somebody else answers there", .mismatch.expected, .mismatch.found
    )]
    OtherCertificate {
        /// Where.
        url: String,
        /// Both fingerprints.
        mismatch: Mismatch,
    },
    /// Too slow.
    #[error("no hello from {url} within {after:?}: timed out while {phase}")]
    Timeout {
        /// Where.
        url: String,
        /// The limit.
        after: Duration,
        /// What was being waited for.
        phase: &'static str,
    },
    /// Something else listens there.
    #[error("{url} is not an OpenClaw gateway: {found}; check host and port")]
    NotGateway {
        /// Where.
        url: String,
        /// What was found instead.
        found: String,
        /// Status of the HTTP answer, if it was one.
        status: Option<u16>,
    },
    /// Somebody listens there, but nobody vouches for it: no credential was sent.
    #[error("no credential was sent to {url}: {why}")]
    NotVouched {
        /// Where.
        url: String,
        /// What was expected, what was found and what to do.
        why: String,
    },
    /// Whatever listens there ended the connection before it said a word.
    #[error(
        "{url} closed the connection before it answered ({reason}). A gateway does that when too many connections wait \
         there without having signed in (gateway.limits.maxUnauthenticated; its log says so): try again; if it goes on, \
         check host and port"
    )]
    HungUp {
        /// Where.
        url: String,
        /// How.
        reason: String,
    },
    /// The gateway closed the connection during the handshake and gave no response.
    #[error("{url} closed the connection during the handshake: {closed}")]
    Closed {
        /// Where.
        url: String,
        /// How.
        closed: Closed,
    },
    /// The gateway refused this client.
    #[error("{url} refused the connection: {error}")]
    Rejected {
        /// Where.
        url: String,
        /// Code, message, details.
        error: Box<GatewayError>,
        /// Code of the close frame that followed, if it came.
        close_code: Option<u16>,
    },
    /// The two sides speak different versions.
    #[error("{url} speaks protocol {}, this client {min} to {max}", .expected.map_or("?".to_owned(), |v| v.to_string()))]
    ProtocolMismatch {
        /// Where.
        url: String,
        /// The gateway's version.
        expected: Option<u64>,
        /// This client's lowest.
        min: u32,
        /// This client's highest.
        max: u32,
    },
}

impl ConnectError {
    /// True when the same attempt may succeed later: everything except a bad URL, a version mismatch and a refusal that
    /// the gateway does not call retryable (F15).
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BadUrl { .. } | Self::ProtocolMismatch { .. } => false,
            Self::Rejected { error, .. } => error.retryable || error.code == "UNAVAILABLE",
            _ => true,
        }
    }

    /// How long the gateway asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { error, .. } => error.retry_after,
            _ => None,
        }
    }
}

/// A connection after hello-ok.
pub(crate) struct Greeted {
    pub(crate) socket: Socket,
    pub(crate) hello: Value,
}

/// Connects and shakes hands within `options.connect_timeout`.
pub(crate) async fn connect(platform: &Platform, options: &ConnectOptions) -> Result<Greeted, ConnectError> {
    let endpoint = Endpoint::parse(&options.url)
        .map_err(|reason| ConnectError::BadUrl { url: endpoint::shown(&options.url), reason })?;
    let phase = Phase::default();
    if options.pin.is_some() && !endpoint.tls {
        let reason = "a certificate is expected, and ws:// shows none: use wss://".to_owned();
        return Err(ConnectError::BadUrl { url: endpoint.url, reason });
    }
    let attempt = async {
        let io = open(platform, options, &endpoint, &phase).await?;
        if let Some(vouch) = &options.vouch {
            phase.enter("looking who listens there");
            let vouched = vouch.vouch(&endpoint.host, endpoint.port).await;
            vouched.map_err(|why| ConnectError::NotVouched { url: endpoint.url.clone(), why })?;
        }
        phase.enter("waiting for the WebSocket upgrade");
        let socket = upgrade(io, &endpoint).await?;
        shake_hands(platform, options, &endpoint, socket, &phase).await
    };
    match tokio::time::timeout(options.connect_timeout, attempt).await {
        Ok(done) => done,
        Err(_) if phase.now() == Phase::CHALLENGE => {
            Err(not_gateway(&endpoint, format!("no connect.challenge within {:?}", options.connect_timeout)))
        }
        Err(_) => Err(ConnectError::Timeout { url: endpoint.url, after: options.connect_timeout, phase: phase.now() }),
    }
}

/// What the attempt is waiting for, so that a time-out can say it. A lock, because the future has to be `Sync`-shareable.
struct Phase(Mutex<&'static str>);

impl Default for Phase {
    fn default() -> Self {
        Self(Mutex::new("connecting"))
    }
}

impl Phase {
    const CHALLENGE: &str = "waiting for connect.challenge";

    fn enter(&self, phase: &'static str) {
        *self.0.locked() = phase;
    }
    fn now(&self) -> &'static str {
        *self.0.locked()
    }
}

async fn open(
    platform: &Platform,
    options: &ConnectOptions,
    endpoint: &Endpoint,
    phase: &Phase,
) -> Result<BoxIo, ConnectError> {
    let io = platform.transport.connect(&endpoint.host, endpoint.port).await.map_err(|e| ConnectError::Refused {
        url: endpoint.url.clone(),
        reason: reason(&e),
        hint: match e.kind() {
            io::ErrorKind::ConnectionRefused => "is it running there? `openclaw gateway` starts it",
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                "check the network, the tunnel or the firewall"
            }
            _ => "check the host name and the port",
        },
    })?;
    if !endpoint.tls {
        return Ok(io);
    }
    phase.enter("negotiating TLS");
    let url = endpoint.url.clone();
    let tls = match &options.pin {
        None => Tls::new(),
        Some(pin) => Tls::pinned(pin().map_err(|why| ConnectError::NotVouched { url: url.clone(), why })?),
    };
    tls.connect(&endpoint.host, io).await.map_err(|error| match Mismatch::of(&error) {
        Some(mismatch) => ConnectError::OtherCertificate { url, mismatch },
        None => ConnectError::Tls { url, reason: reason(&error), hint: tls_hint(&error) },
    })
}

fn tls_hint(error: &io::Error) -> &'static str {
    if tls::is_untrusted(error) {
        "a certificate that the gateway made itself has to be named: `openclaw gateway fingerprint` on its machine prints what \
         --tls-fingerprint and gateway.remote.tlsFingerprint take"
    } else {
        "use ws:// if it serves no TLS"
    }
}

/// "Connection refused" rather than "Connection refused (os error 111)".
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection ended".to_owned(),
        _ => error.to_string(),
    }
}

async fn upgrade(io: BoxIo, endpoint: &Endpoint) -> Result<Socket, ConnectError> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match client_async_with_config(endpoint.url.as_str(), io, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status();
            let body = String::from_utf8_lossy(response.body().as_deref().unwrap_or_default());
            let said = match body.lines().next().map(|line| display::line(truncate::chars(line, SHOWN))) {
                Some(line) if is_text(response.headers()) => format!(" and said: {line}"),
                _ => String::new(),
            };
            let found = format!("it answered the upgrade with HTTP {status}{said}");
            Err(ConnectError::NotGateway { url: endpoint.url.clone(), found, status: Some(status.as_u16()) })
        }
        Err(tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)) => {
            Err(ConnectError::HungUp { url: endpoint.url.clone(), reason: "the connection ended".to_owned() })
        }
        Err(tungstenite::Error::Io(e)) if is_hang_up(&e) => {
            Err(ConnectError::HungUp { url: endpoint.url.clone(), reason: reason(&e) })
        }
        Err(tungstenite::Error::Io(e)) => {
            Err(not_gateway(endpoint, format!("no answer to the upgrade: {}", reason(&e))))
        }
        Err(e) => Err(not_gateway(endpoint, format!("it does not answer like a WebSocket server ({e})"))),
    }
}

/// True when a refusal has words for people.
fn is_text(headers: &http::HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

/// The other side is gone; it did not say anything that would be wrong.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn not_gateway(endpoint: &Endpoint, found: String) -> ConnectError {
    ConnectError::NotGateway { url: endpoint.url.clone(), found, status: None }
}

async fn shake_hands(
    platform: &Platform,
    options: &ConnectOptions,
    endpoint: &Endpoint,
    mut socket: Socket,
    phase: &Phase,
) -> Result<Greeted, ConnectError> {
    phase.enter(Phase::CHALLENGE);
    let challenge = frame(&mut socket, endpoint).await?;
    if challenge["event"] != "connect.challenge" {
        return Err(not_gateway(endpoint, "its first frame is not connect.challenge".to_owned()));
    }
    let nonce = challenge["payload"]["nonce"].as_str().unwrap_or_default();
    // The gateway's own time where it gives one: a wrong clock on this side then does no harm (F23).
    let signed_at = challenge["payload"]["ts"].as_u64().unwrap_or_else(|| platform.clock.wall());

    phase.enter("waiting for hello-ok");
    let params = options.params(nonce, signed_at);
    let request = json!({ "type": "req", "id": CONNECT_ID, "method": "connect", "params": params });
    if let Err(e) = socket.send(Message::text(request.to_string())).await {
        let closed = Closed::lost(&e.to_string());
        return Err(ConnectError::Closed { url: endpoint.url.clone(), closed });
    }
    let mut response = loop {
        let frame = frame(&mut socket, endpoint).await?;
        // No event comes before the response (D34); a peer's may, and nobody could use it yet.
        if frame["type"] == "res" && frame["id"] == CONNECT_ID {
            break frame;
        }
    };
    if response["ok"] != true {
        let error = GatewayError::from_response(&mut response);
        return Err(refusal(&mut socket, options, endpoint, error).await);
    }
    let hello = response["payload"].take();
    if hello["type"] != "hello-ok" {
        return Err(not_gateway(endpoint, "its answer to connect is not hello-ok".to_owned()));
    }
    Ok(Greeted { socket, hello })
}

async fn refusal(
    socket: &mut Socket,
    options: &ConnectOptions,
    endpoint: &Endpoint,
    error: GatewayError,
) -> ConnectError {
    let close_code = tokio::time::timeout(CLOSE_WAIT, close_frame(socket)).await.ok().flatten();
    let details = |key: &str| error.details.as_ref().and_then(|details| details.get(key));
    let expected = details("expectedProtocol").and_then(Value::as_u64);
    let url = endpoint.url.clone();
    if expected.is_some() || close_code == Some(1002) {
        ConnectError::ProtocolMismatch { url, expected, min: options.min_protocol, max: options.max_protocol }
    } else {
        ConnectError::Rejected { url, error: Box::new(error), close_code }
    }
}

async fn close_frame(socket: &mut Socket) -> Option<u16> {
    loop {
        match socket.next().await? {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

/// The next JSON frame of the handshake.
async fn frame(socket: &mut Socket, endpoint: &Endpoint) -> Result<Value, ConnectError> {
    let closed = |closed| ConnectError::Closed { url: endpoint.url.clone(), closed };
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return serde_json::from_str(&text)
                    .map_err(|_| not_gateway(endpoint, "it sent something that is not JSON".to_owned()));
            }
            Some(Ok(Message::Close(frame))) => return Err(closed(Closed::from_frame(frame))),
            Some(Ok(_)) => {}
            Some(Err(e)) => return Err(closed(Closed::lost(&e.to_string()))),
            None => return Err(closed(Closed::lost("end of stream"))),
        }
    }
}
