use std::time::Duration;

use openclaw_platform::{BoxIo, Transport};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error, error::ProtocolError, protocol::WebSocketConfig},
};

use super::{GATEWAY_PORT, TUNNEL_PORT};
use crate::scenario::Route;

/// A client's WebSocket.
pub(super) type Socket = WebSocketStream<BoxIo>;

/// A client gives a connection up that is not there by then.
const CONNECT: Duration = Duration::from_secs(10);
/// Small, so that what a client does not read stays in the network.
const BUFFER: usize = 4 << 10;

/// Connects the bytes.
pub(super) async fn connect(net: &dyn Transport, via: Route) -> Result<BoxIo, String> {
    let (host, port) = match via {
        Route::Gateway => ("gateway", GATEWAY_PORT),
        Route::Tunnel => ("tunnel", TUNNEL_PORT),
    };
    match tokio::time::timeout(CONNECT, net.connect(host, port)).await {
        Err(_) => Err("no connection in time".into()),
        Ok(io) => io.map_err(|e| e.kind().to_string()),
    }
}

/// Connects and upgrades.
///
/// `host` is the name that it asks for, when another one than the way itself suggests.
pub(super) async fn open(net: &dyn Transport, via: Route, host: Option<&str>) -> Result<Socket, String> {
    let io = connect(net, via).await?;
    // Through a tunnel the gateway is asked for by a local name.
    let host = host.unwrap_or(match via {
        Route::Gateway => "gateway:18789",
        Route::Tunnel => "127.0.0.1:18790",
    });
    let url = format!("ws://{host}/");
    let config = WebSocketConfig::default().read_buffer_size(BUFFER);
    match tokio::time::timeout(CONNECT, client_async_with_config(url, io, Some(config))).await {
        Err(_) => Err("no upgrade in time".into()),
        Ok(Err(error)) => Err(said(&error)),
        Ok(Ok((socket, _))) => Ok(socket),
    }
}

/// A failure in words that do not change from run to run.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::Io(e) => e.kind().to_string(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "ended without a close frame".into(),
        Error::Http(response) => format!("refused with HTTP {}", response.status().as_u16()),
        other => other.to_string(),
    }
}
