//! Inner functions for the fuzz targets; exists under `--cfg fuzzing` alone.

use openclaw_platform::Millis;
use serde_json::Value;

use super::{format, target, update};
use crate::{Inbound, Target};

/// Markdown as messages of at most `limit` UTF-16 units: Telegram's HTML, and the same without markup.
pub fn render(markdown: &str, limit: usize) -> Vec<(String, String)> {
    format::render(markdown, limit).into_iter().map(|chunk| (chunk.html, chunk.plain)).collect()
}

/// What one update holds for the bot with this id and name: a message, whether the bot was meant by it, and the id of
/// a button press.
pub fn read_update(update: &Value, bot: i64, name: &str, now: Millis) -> (Option<(Inbound, bool)>, Option<String>) {
    let me = update::BotIdentity { id: bot, username: name.to_owned() };
    let reading = update::read(update, &me, now);
    (reading.incoming.map(|incoming| (incoming.message, incoming.mentioned)), reading.callback_id)
}

/// A target as a person writes it.
pub fn parse_target(text: &str) -> Option<Target> {
    target::parse(text).ok()
}
