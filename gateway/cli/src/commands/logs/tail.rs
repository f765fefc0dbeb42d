use openclaw_client::CallError;
use serde_json::{Value, json};

use super::{
    lines::{Printer, Wanted},
    told,
};
use crate::{args::LogsArgs, client::Connection, failure::Failure, output, session::Session};

/// Lines asked for at a time by who goes on, and by who filters; the protocol's most.
const MOST_LINES: u64 = 5000;
/// Bytes asked for by who filters: what is wanted may stand far back.
const MOST_BYTES: u64 = 1_000_000;

/// How far somebody has read.
pub struct Tail {
    wanted: Wanted,
    /// Where to go on, and in which file.
    place: Option<(u64, Value)>,
}

impl Tail {
    /// Nothing was read yet.
    pub fn new(args: &LogsArgs) -> Self {
        Self { wanted: Wanted::of(args), place: None }
    }

    /// Prints what is new. The outer error is of the call, the inner one of the printing.
    ///
    /// # Errors
    /// As said.
    pub async fn look(
        &mut self,
        session: &Session,
        connection: &Connection,
        args: &LogsArgs,
    ) -> Result<Result<(), Failure>, CallError> {
        let params = self.params(args);
        let answer = connection.client.call("logs.tail", params, connection.timeout).await?;
        let printed = self.print(&Printer::new(session, args), &answer, args);
        let cursor = answer["cursor"].as_u64().unwrap_or(0);
        self.place = Some((cursor, answer["generation"].clone()));
        Ok(printed)
    }

    fn params(&self, args: &LogsArgs) -> Value {
        let Some((cursor, generation)) = &self.place else {
            let all = self.wanted.is_everything();
            let (limit, bytes) = if all { (args.limit, args.max_bytes) } else { (MOST_LINES, MOST_BYTES) };
            return json!({ "limit": limit, "maxBytes": bytes });
        };
        let mut params = json!({ "limit": MOST_LINES, "maxBytes": args.max_bytes, "cursor": cursor });
        // Gateways that do not know generations refuse the word.
        if generation.is_string() {
            params["generation"] = generation.clone();
        }
        params
    }

    fn print(&self, printer: &Printer, answer: &Value, args: &LogsArgs) -> Result<(), Failure> {
        let is_first = self.place.is_none();
        if printer.json && is_first {
            let of = |key: &str| answer[key].clone();
            output::json_line(
                &json!({ "type": "meta", "file": of("file"), "cursor": of("cursor"), "size": of("size") }),
            )?;
        }
        let lines: Vec<&str> = answer["lines"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut kept: Vec<&str> = lines.into_iter().filter(|line| self.wanted.has(line)).collect();
        if is_first {
            kept.drain(..kept.len().saturating_sub(args.limit as usize));
        } else {
            // The rest of a rotated file is given whole; what was lost with one that is gone nobody can count.
            let lost = answer["lost"].as_u64().unwrap_or(0);
            let is_gone = answer["reset"] == true && answer["truncated"] == true && lost == 0;
            match lost {
                _ if is_gone => told(printer, &self.wanted, "lines were lost")?,
                0 => {}
                1 => told(printer, &self.wanted, "1 line was lost")?,
                _ => told(printer, &self.wanted, &format!("{lost} lines were lost"))?,
            }
        }
        let is_rotated = answer["reset"] == true && !is_first;
        let is_rest = is_rotated && answer["cursor"] == 0;
        if is_rotated && !is_rest {
            printer.notice("log was rotated")?;
        }
        kept.into_iter().try_for_each(|line| printer.line(line))?;
        if is_rest { printer.notice("log was rotated") } else { Ok(()) }
    }
}
