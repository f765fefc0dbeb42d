use std::time::Duration;

use openclaw_platform::{BoxIo, Transport};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error, client::IntoClientRequest as _, error::ProtocolError, http::HeaderValue, protocol::WebSocketConfig,
    },
};

use super::{GATEWAY_PORT, TUNNEL_PORT};
use crate::{plan::Client, scenario::Route};

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
/// It asks for the host that the plan names, or for the one that the way itself suggests.
pub(super) async fn open(net: &dyn Transport, plan: &Client) -> Result<Socket, String> {
    let io = connect(net, plan.via).await?;
    // Through a tunnel the gateway is asked for by a local name.
    let host = plan.host.as_deref().unwrap_or(match plan.via {
        Route::Gateway => "gateway:18789",
        Route::Tunnel => "127.0.0.1:18790",
    });
    let mut request = format!("ws://{host}/").into_client_request().map_err(|e| said(&e))?;
    if let Some(chain) = &plan.forwarded {
        let chain = HeaderValue::from_str(chain).map_err(|e| e.to_string())?;
        request.headers_mut().insert("x-forwarded-for", chain);
    }
    let config = WebSocketConfig::default().read_buffer_size(BUFFER);
    match tokio::time::timeout(CONNECT, client_async_with_config(request, io, Some(config))).await {
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
