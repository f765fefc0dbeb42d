//! The state database while no gateway runs: whole, of a known schema, and what waits in it.

use std::sync::Arc;

use openclaw_platform::{Storage as _, os::OsStorage};
use openclaw_server::schema::{
    SCHEMA,
    inspect::{Contents, look},
};
use openclaw_server::store::{
    FILE, StoreError,
    loss::{self, Loss},
};

use super::check::Check;
use crate::{commands::backup::told, lock::Holder, session::Session};

/// While a gateway has it.
pub fn in_use(holder: Option<&Holder>) -> Check {
    let by = holder.map_or_else(|| "another process".to_owned(), ToString::to_string);
    Check::ok("database", format!("in use by {by}, which is asked instead; stop it to have the file itself looked at"))
}

/// `database`, `runs`, `inbox`, `delivery`.
pub fn checks(session: &Session) -> Vec<Check> {
    let storage = Arc::new(OsStorage::as_it_is(&session.paths.state_dir));
    match loss::find(&*storage) {
        Err(error) => return vec![broken(session, &error)],
        Ok(Some(loss)) => return vec![lost(session, loss)],
        Ok(None) => {}
    }
    if storage.len(FILE).is_err() {
        return vec![Check::note("database", format!("there is no {FILE} yet; the first start makes it"))];
    }
    match look(storage, FILE) {
        Ok(found) => whole(session, &found),
        Err(error) => vec![broken(session, &error)],
    }
}

fn lost(session: &Session, loss: Loss) -> Check {
    let fix = "put the file back, restore a backup, or accept the loss, as it says";
    Check::error("database", told(session, &StoreError::Lost { loss }), fix)
}

fn broken(session: &Session, error: &StoreError) -> Check {
    let (file, command) = (session.paths.state_dir.join(FILE), session.paths.command());
    let file = file.display();
    let text = match error {
        // Its own text has the way out for somebody who has no doctor at hand.
        StoreError::Damaged(why) => format!("{file} is damaged: {why}. It was left as it is"),
        other => format!("{file}: {other}"),
    };
    if matches!(error, StoreError::Newer { .. }) {
        return Check::error("database", text, "use the newer openclaw that wrote it, or restore a backup made before");
    }
    let fix = format!(
        "`{command} backup restore FILE` puts a backup in its place and keeps it (see `backups` below); without one, \
         `mv {file} {file}.damaged` and then `{command} backup accept-loss` let the next start begin with an empty state: \
         sessions, transcripts, pairings and what waits to be sent are not in it"
    );
    Check::error("database", text, fix)
}

fn whole(session: &Session, found: &Contents) -> Vec<Check> {
    let (file, sessions) = (&found.file, found.sessions);
    let (bytes, schema, records) = (file.bytes, file.schema, file.records);
    let text = format!("{FILE} is whole: schema {schema}, {sessions} sessions, {records} records, {bytes} bytes");
    let mut checks = vec![if file.repaired {
        Check::note(
            "database",
            format!(
                "{text}. The last gateway did not end in good order (crash, power loss): the next start tidies it up"
            ),
        )
    } else if schema < SCHEMA.version() {
        Check::note(
            "database",
            format!(
                "{text}. The next start brings it to schema {}; a backup now can be restored by the older program",
                SCHEMA.version()
            ),
        )
    } else {
        Check::ok("database", text)
    }];
    if found.runs > 0 {
        let how = "the next start reports them to their callers and sessions, or begins them anew (agents.defaults.onRestart)";
        checks.push(Check::note("runs", format!("{} agent runs were interrupted; {how}", found.runs)));
    }
    if found.inbox > 0 {
        let text = format!("{} received messages are not answered yet; the next start goes on with them", found.inbox);
        checks.push(Check::note("inbox", text));
    }
    let outbounds = found.outbounds;
    checks.push(delivery(session, outbounds.queued as u64, outbounds.dead as u64, outbounds.unknown as u64));
    checks
}

/// `delivery`: messages that did not go out, or may not have.
pub fn delivery(session: &Session, queued: u64, dead: u64, unknown: u64) -> Check {
    let text = format!("{queued} messages wait to go out, {dead} were given up, {unknown} may or may not have arrived");
    if dead + unknown == 0 {
        return Check::ok("delivery", text);
    }
    let command = session.paths.command();
    let fix = format!("`{command} delivery list` shows them; `delivery retry` sends again, `delivery drop` forgets");
    Check::warn("delivery", text, fix)
}
