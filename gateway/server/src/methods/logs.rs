//! logs.tail (nodes-config-lifecycle.md B4, decision D24): whole lines, and lost ones are counted.

use std::{path::PathBuf, sync::Arc};

use openclaw_platform::Platform;
use openclaw_protocol::{
    error::ErrorShape,
    params::{LogsTail, LogsTailParams},
    wire::Int,
};

use crate::{
    dispatch::{Call, Reply},
    failure::Failure,
};

/// What these methods use.
pub struct Deps {
    /// The log below the state directory, if it is there.
    pub log_file: Option<String>,
    /// The seams.
    pub platform: Platform,
    /// The state directory, as it is shown.
    pub state_dir: PathBuf,
}

const LINES: usize = 500;
const BYTES: u64 = 250_000;

pub async fn tail(deps: Arc<Deps>, call: Call, p: LogsTailParams) -> Result<Reply<LogsTail>, Failure> {
    call.read(move || newest(&deps, &p)).await
}

fn newest(deps: &Deps, p: &LogsTailParams) -> Result<LogsTail, Failure> {
    let Some(file) = &deps.log_file else {
        let text = "the log file lies outside the state directory: read it on the gateway's machine (logging.file)";
        return Err(ErrorShape::unavailable("LOG_ELSEWHERE", text).into());
    };
    let storage = &deps.platform.storage;
    let shown = deps.state_dir.join(file).display().to_string();
    let failed = |e: std::io::Error| ErrorShape::unavailable("LOG_FILE", format!("{shown}: {e}"));
    let size = match storage.len(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
        other => other.map_err(failed)?,
    };
    let max = p.max_bytes.map_or(BYTES, Int::unsigned);
    let limit = p.limit.map_or(LINES, |l| l.unsigned() as usize);
    let cursor = p.cursor.map(Int::unsigned);
    // A cursor past the end means that the file was rotated.
    let reset = cursor.is_some_and(|c| c > size);
    let from = cursor.filter(|_| !reset);
    let start = from.unwrap_or(0).max(size.saturating_sub(max));
    // One byte more: when it is a line break the first line is whole.
    let begin = start.saturating_sub(1);
    let bytes =
        if size == 0 { vec![] } else { storage.read_at(file, begin, (size - begin) as usize).map_err(failed)? };
    let skipped = from.is_none_or(|f| start > f) && start > 0;
    let mut text = &bytes[(start - begin) as usize..];
    if start > 0 && bytes.first() != Some(&b'\n') && skipped {
        text = text.iter().position(|b| *b == b'\n').map_or(&[], |i| &text[i + 1..]);
    }
    // An unfinished line is left for the next call.
    let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let unfinished = (text.len() - end) as u64;
    let all: Vec<String> =
        text[..end].split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l).into_owned()).collect();
    let all = &all[..all.len().saturating_sub(1)];
    let lost_lines = all.len().saturating_sub(limit) as u64;
    let lines = all[lost_lines as usize..].to_vec();
    let cut_bytes = from.is_some_and(|f| start > f);
    Ok(LogsTail {
        file: shown.clone(),
        cursor: size - unfinished,
        size,
        lines,
        truncated: start > 0 && from.is_none_or(|f| start > f) || lost_lines > 0,
        reset,
        lost: lost_lines + u64::from(cut_bytes),
    })
}
