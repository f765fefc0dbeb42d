//! The Telegram channel against the fake Bot API, in paused time.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // tests own their tasks and may panic

mod receive;
mod send;
mod support;
