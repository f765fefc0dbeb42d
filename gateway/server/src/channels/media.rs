//! Attachments: in both directions, bounded, and only from where they may come (S16).

use openclaw_channels::Media;
use openclaw_platform::EntropyExt as _;
use openclaw_protocol::{display, error::ErrorShape, message::Content};

use super::{envelope::part, inbox::Pending};
use crate::{
    gateway::Gateway,
    limits::{ATTACHMENTS, ENVELOPE_NAME, MEDIA_BYTES, MEDIA_URL},
};

impl Gateway {
    /// Fetches the attachments of an inbound message: images for the model, other files into the state directory.
    pub async fn fetch_attachments(&self, pending: &Pending) -> Vec<Content> {
        let max = (self.config().agents.defaults.media_max_mb << 20) as usize;
        let mut out = Vec::new();
        for media in pending.media.iter().take(ATTACHMENTS) {
            match pending.channel.download(media, max).await {
                Ok(bytes) if media.mime.starts_with("image/") => {
                    out.push(Content::Image { data: base64(&bytes), mime_type: media.mime.clone() });
                }
                Ok(bytes) => out.push(Content::text(self.keep_file(&media.name, &bytes).await)),
                Err(error) => {
                    tracing::warn!(channel = pending.channel.id(), %error, "attachment not fetched");
                    out.push(Content::text(format!(
                        "[attachment {} could not be fetched: {error}]",
                        part(&media.name, ENVELOPE_NAME)
                    )));
                }
            }
        }
        out
    }

    /// Keeps a received file; the name on disk is ours, no outside string becomes a path (S11).
    async fn keep_file(&self, name: &str, bytes: &bytes::Bytes) -> String {
        let extension: String = name.rsplit_once('.').map_or("bin", |(_, e)| e).chars().take(8).collect();
        let extension = if extension.chars().all(|c| c.is_ascii_alphanumeric()) { extension } else { "bin".into() };
        let file = format!("media/inbound/{}.{extension}", self.platform.entropy.hex(12));
        let shown = part(name, ENVELOPE_NAME);
        let (storage, path, data) = (self.platform.storage.clone(), file.clone(), bytes.clone());
        let work = openclaw_platform::SpawnerExt::blocking(&*self.tasks, move || storage.write_atomic(&path, &data));
        match work.await {
            Some(Ok(())) => format!("[file {shown}: {}]", self.options.state_dir.join(file).display()),
            _ => format!("[file {shown} could not be kept]"),
        }
    }

    /// Loads what is to be sent: files under the allowed roots, and `https` addresses of the public internet (S16).
    ///
    /// # Errors
    /// INVALID_REQUEST when one is neither, or too large; UNAVAILABLE when an address does not answer.
    pub async fn load_media(&self, urls: &[String]) -> Result<Vec<Media>, ErrorShape> {
        if urls.len() > ATTACHMENTS {
            let text = format!("at most {ATTACHMENTS} media files, found {}", urls.len());
            return Err(ErrorShape::invalid("TOO_MANY_MEDIA", text));
        }
        let mut loaded = Vec::new();
        for url in urls {
            loaded.push(self.load_one(url).await?);
        }
        Ok(loaded)
    }

    async fn load_one(&self, url: &str) -> Result<Media, ErrorShape> {
        let path = url.strip_prefix("file://").unwrap_or(url);
        if path.contains("://") {
            return self.media_fetch.get(path, MEDIA_BYTES).await.map_err(ErrorShape::from);
        }
        let read = (self.options.read_media)(path, MEDIA_BYTES);
        let (name, bytes) = read.map_err(|e| {
            ErrorShape::invalid("MEDIA_FILE", format!("media {}: {e}", display::short(path, MEDIA_URL)))
        })?;
        // A copy of the configuration is the configuration (S29).
        if self.holds_secret(&bytes) {
            let text = "media: the file holds a secret of this gateway (a token, a key or a password), it is not sent";
            return Err(ErrorShape::invalid("MEDIA_FILE", text));
        }
        let mime = mime_guess::from_path(&name).first_or_octet_stream().to_string();
        Ok(Media { name, mime, bytes: bytes.into() })
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
