//! What the fuzz targets share: a whole gateway in memory, a WebSocket client that need not behave, values out of a
//! JSON Schema, a strict reader of Telegram's HTML, and the rules of exec approvals a second time.
//!
//! Start reading at [`targets`], then [`World`]. The programs under `fuzz_targets/` only hand libFuzzer's bytes on.

pub mod exec;
pub mod generate;
pub mod html;
mod socket;
pub mod targets;
mod world;

pub use socket::{Frame, Socket, UPGRADE, message};
pub use world::{Stored, TOKEN, World};
