//! Paths of HTTP requests: one reading for everybody, so that no variant passes a check and reaches a route (S08).

/// Refuses what could be read in two ways: broken or doubled percent-encoding, encoded separators, dot segments, control
/// characters, bytes that are no text.
///
/// # Errors
/// What is wrong.
pub fn judge(path: &str) -> Result<(), &'static str> {
    let decoded = decode(path).ok_or("the path has broken percent-encoding")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "the path is no UTF-8 text")?;
    if decoded.chars().any(|c| c.is_control() || c == '\\') {
        return Err("the path has control characters or backslashes");
    }
    // One `%` more after decoding: whoever decodes again reads another path.
    if decoded.contains('%') {
        return Err("the path is encoded twice");
    }
    if decoded.matches('/').count() != path.matches('/').count() {
        return Err("the path has encoded slashes");
    }
    if decoded.split('/').any(|part| part == "." || part == "..") {
        return Err("the path has dot segments");
    }
    Ok(())
}

fn decode(path: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s08_paths_have_one_reading() {
        for good in ["/", "/healthz", "/ui/app.js", "/a%20b", "/caf%C3%A9", "/a..b/...", "/__openclaw__/ws"] {
            assert_eq!(judge(good), Ok(()), "{good}");
        }
        for bad in [
            "/%",
            "/%4",
            "/%zz",
            "/a%2",
            "/%ff",
            "/%C3",
            "/%00",
            "/a%0d%0ab",
            "/%5c..%5c",
            "/a\\b",
            "/%2568ealthz",
            "/%252e%252e/x",
            "/a%2fb",
            "/a%2Fb",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/.%2e/x",
            "/a/%2e",
        ] {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }
}
