//! The first frame of a connection, as anybody on the network may send it (S21): no input may panic, overflow the stack
//! or be taken and refused at once.
//!
//! `cargo +nightly fuzz run first_frame`

#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw_protocol::{
    frame::{Refusal, RequestFrame},
    method::{Connect, Method as _},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match RequestFrame::parse(text) {
        Ok(frame) => {
            assert!(!frame.id.is_empty() && !frame.method.is_empty());
            // Params are read only for a known method, but any text may stand there.
            let _ = Connect::parse(frame.params_text());
        }
        Err(Refusal::NotJson) => {}
        Err(Refusal::Shape { message, .. }) => assert!(!message.is_empty()),
    }
});
