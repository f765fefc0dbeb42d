//! `openclaw logs`: the gateway's file log, over the gateway, so that it works from another machine too. What a person misses
//! (rotation, lost lines, a restart) is told between the lines.

mod lines;
mod tail;

use std::time::Duration;

use openclaw_client::ConnectError;
use tokio::time::sleep;

use self::{
    lines::{Printer, Wanted},
    tail::Tail,
};
use crate::{
    args::LogsArgs,
    client::{Connection, Target},
    failure::Failure,
    output,
    session::Session,
};

/// Between two attempts to reach a gateway that went away.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints the newest lines, then with `--follow` each new one until it is interrupted, which is no failure.
///
/// # Errors
/// Runtime: no gateway at the start, a refusal, or without `--follow` its end.
pub async fn run(session: &Session, args: &LogsArgs) -> Result<(), Failure> {
    if !args.follow {
        let connection = open(session, args).await?;
        let printed = Tail::new(args).look(session, &connection, args).await;
        connection.close().await;
        return printed.map_err(|error| connection.failed("logs.tail", &error))?;
    }
    openclaw_platform::select! {
        ended = follow(session, args) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|e| Failure::Runtime(format!("cannot watch for an interrupt: {e}")))
        }
    }
}

async fn open(session: &Session, args: &LogsArgs) -> Result<Connection, Failure> {
    Connection::open(session, &args.read.connection, Duration::from_millis(args.read.timeout)).await
}

async fn follow(session: &Session, args: &LogsArgs) -> Result<(), Failure> {
    use openclaw_client::CallError::{Closed, Gateway, Timeout};
    let mut connection = open(session, args).await?;
    let mut tail = Tail::new(args);
    loop {
        match tail.look(session, &connection, args).await {
            Ok(printed) => printed?,
            // It may be about to go; the next look says so.
            Err(Gateway(refused)) if refused.retryable => {}
            Err(error @ Gateway(_)) => return Err(connection.failed("logs.tail", &error)),
            Err(Closed(_) | Timeout(_)) => {
                connection.close().await;
                connection = again(session, args).await?;
            }
        }
        sleep(Duration::from_millis(args.interval)).await;
        if output::is_gone() {
            return Ok(());
        }
    }
}

/// Waits until the gateway is there again, however long it takes.
async fn again(session: &Session, args: &LogsArgs) -> Result<Connection, Failure> {
    let printer = Printer::new(session, args);
    printer.notice("the gateway is gone, waiting for it")?;
    let timeout = Duration::from_millis(args.read.timeout);
    loop {
        sleep(AGAIN).await;
        if output::is_gone() {
            return Err(Failure::Quiet(0));
        }
        // Where it is, and its credential, may have changed.
        let Ok(target) = Target::resolve(session, &args.read.connection) else { continue };
        match target.try_connect(timeout).await {
            Ok(client) => {
                printer.notice("the gateway is there again")?;
                return Ok(Connection::of(client, target, timeout));
            }
            Err(error @ ConnectError::BadUrl { .. }) => return Err(Failure::Runtime(target.explain(session, &error))),
            Err(error @ ConnectError::Rejected { .. }) if error.to_string().contains("unauthorized") => {
                return Err(Failure::Runtime(target.explain(session, &error)));
            }
            Err(_) => {}
        }
    }
}

/// What was left out, for a person on stderr; for a program it is a line of its own.
fn told(printer: &Printer, wanted: &Wanted, text: &str) -> Result<(), Failure> {
    if wanted.is_everything() {
        return printer.notice(text);
    }
    printer.notice(&format!("{text} (some of them may have been filtered)"))
}

/// A remark between the lines.
impl Printer {
    fn notice(&self, text: &str) -> Result<(), Failure> {
        if self.json {
            return output::json_line(&serde_json::json!({ "type": "notice", "message": text }));
        }
        output::note(format!("-- {text}"));
        Ok(())
    }
}
