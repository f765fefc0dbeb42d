//! Pictures of pages.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{BrowserError, limits::PICTURE_BYTES};

/// A picture and its size in pixels.
pub struct Png {
    /// The file.
    pub bytes: Vec<u8>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// What a browser sent as a picture.
///
/// # Errors
/// [`BrowserError::Page`] when it is none, or too large.
pub fn decode(data: &str) -> Result<Png, BrowserError> {
    let wrong = || BrowserError::Page("the browser sent no picture".to_owned());
    let bytes = STANDARD.decode(data).map_err(|_| wrong())?;
    if bytes.len() > PICTURE_BYTES {
        let text =
            format!("the picture has {} bytes, more than {PICTURE_BYTES}: take one without fullPage", bytes.len());
        return Err(BrowserError::Page(text));
    }
    let head = bytes.get(..24).filter(|head| head.starts_with(b"\x89PNG\r\n\x1a\n") && &head[12..16] == b"IHDR");
    let number = |at: usize| head.and_then(|head| head.get(at..at + 4)?.try_into().ok()).map(u32::from_be_bytes);
    let (width, height) = (number(16).ok_or_else(wrong)?, number(20).ok_or_else(wrong)?);
    Ok(Png { bytes, width, height })
}

/// For an answer in text.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
