//! logs.tail (nodes-config-lifecycle.md B4, decision D24).

use std::sync::Arc;

use openclaw_protocol::{
    params::{LogsTail, LogsTailParams},
    wire::Int,
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
    log_tail::{LogTail, Wanted},
};

const LINES: usize = 500;
const BYTES: u64 = 250_000;

pub async fn tail(log: Arc<LogTail>, call: Call, p: LogsTailParams) -> Result<Reply<LogsTail>, Failure> {
    let wanted = Wanted {
        cursor: p.cursor.map(Int::unsigned),
        generation: p.generation,
        lines: p.limit.map_or(LINES, |l| l.unsigned() as usize),
        bytes: p.max_bytes.map_or(BYTES, Int::unsigned),
    };
    call.read(move || Ok(log.newest(&wanted)?)).await
}
