//! The HTTP upgrade, by hand: one tungstenite in the tree, and no task that the gateway did not start itself.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The answer to a WebSocket upgrade.
///
/// # Errors
/// A plain HTTP answer: 400 for a wrong version or key.
pub fn accept(request: &Request<Body>) -> Result<Response<Body>, Box<Response<Body>>> {
    let headers = request.headers();
    let bad = |why: &'static str| {
        let mut response = Response::new(Body::from(why));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        response.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
        Box::new(response)
    };
    if headers.get("sec-websocket-version").is_none_or(|v| v != "13") {
        return Err(bad("only WebSocket version 13 is spoken here\n"));
    }
    let mut keys = headers.get_all("sec-websocket-key").iter();
    let Some(key) = keys.next().filter(|key| is_key(key.as_bytes())) else {
        return Err(bad("expected a Sec-WebSocket-Key header of 16 bytes in base64\n"));
    };
    if keys.next().is_some() {
        return Err(bad("more than one Sec-WebSocket-Key header\n"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let Ok(accept) = accept else { return Err(bad("bad Sec-WebSocket-Key header\n")) };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert("sec-websocket-accept", accept);
    // Clients that offer subprotocols expect the first one back (protocol-core.md section 1).
    let offered = headers.get("sec-websocket-protocol").and_then(|v| v.to_str().ok());
    let first = offered.and_then(|v| v.split(',').next()).map(str::trim).filter(|p| !p.is_empty());
    if let Some(value) = first.and_then(|p| HeaderValue::from_str(p).ok()) {
        out.insert("sec-websocket-protocol", value);
    }
    Ok(response)
}

/// 16 bytes in base64 (RFC 6455 section 4.1): 22 characters and two signs of padding.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |c: &u8| c.is_ascii_alphanumeric() || b"+/".contains(c);
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

/// True when the request asks for a WebSocket.
pub fn is_upgrade(method: &Method, headers: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    method == Method::GET && has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s30_a_websocket_key_is_sixteen_bytes() {
        let status = |keys: &[&str]| {
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("13"));
            for key in keys {
                request.headers_mut().append("sec-websocket-key", key.parse().unwrap());
            }
            accept(&request).map_or_else(|refused| refused.status().as_u16(), |r| r.status().as_u16())
        };
        let good = "dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(status(&[good]), 101);
        for bad in ["", "x", "dGhlIHNhbXBsZQ==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSBsb25nZXI=", "!!!!"] {
            assert_eq!(status(&[bad]), 400, "{bad}");
        }
        assert_eq!(status(&[]), 400);
        assert_eq!(status(&[good, good]), 400);
    }
}
