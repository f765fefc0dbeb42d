//! Tells the session that asked, exactly once.

use std::sync::Arc;

use openclaw_platform::Storage;

use super::{Payload, RestartNote};
use crate::{
    delivery::{Delivery, Draft, outbound::Cause},
    rights::Principal,
    sessions::{key, store::Sessions},
    settings::Settings,
    store::{self, RESTARTS, Store, StoreError},
    system_events::SystemEvents,
};

/// The records that say which notes were told last: with a number, of at most sixteen.
const TOLD: &str = "told";

/// What telling it uses.
pub struct Deps {
    /// Where it is kept.
    pub storage: Arc<dyn Storage>,
    /// The configuration.
    pub settings: Settings,
    /// Where it is remembered that it was told.
    pub store: Store,
    /// Where the session's answers go.
    pub sessions: Arc<Sessions>,
    /// Sends.
    pub delivery: Arc<Delivery>,
    /// Notes for the agent.
    pub system_events: Arc<SystemEvents>,
}

/// Tells the session that asked: in its chat, where it has one, else with its next prompt. Before anything new is accepted.
///
/// # Errors
/// When the database cannot be read or written; it is told at the next start then.
pub async fn tell(deps: &Deps) -> Result<(), StoreError> {
    let Some(note) = RestartNote::kept(&*deps.storage) else { return Ok(()) };
    // The file goes after the records: a process that dies in between finds both.
    let told: Vec<(String, String)> = deps.store.read(|tx| store::all(tx, RESTARTS))?;
    for (number, payload) in note.all().enumerate() {
        let id = format!("{} {} {number}", payload.ts, payload.kind);
        if !told.iter().any(|(_, told)| *told == id) {
            tell_one(deps, payload, number, id).await?;
        }
    }
    super::forget(&*deps.storage);
    Ok(())
}

async fn tell_one(deps: &Deps, payload: &Payload, number: usize, id: String) -> Result<(), StoreError> {
    let config = deps.settings.get();
    let asked = payload.session_key.as_deref().and_then(|shown| key::canonical(&config, shown));
    let session = asked.unwrap_or_else(|| key::main_key(&config, key::default_agent(&config)));
    let route = deps.sessions.get(&session)?.and_then(|entry| entry.delivery_context);
    let cause = Cause { session_key: Some(session.clone()), ..Cause::default() };
    let text = payload.text(deps.settings.told().problem.as_deref());
    let draft = |route| Draft { route, text: text.clone(), reply_to: None, cause };
    let outbound = route.and_then(|route| deps.delivery.compose(&Principal::Gateway, draft(route)).ok());
    let place = format!("{TOLD} {number}");
    let remember = move |tx: &redb::WriteTransaction| store::put(&mut tx.open_table(RESTARTS)?, &place, &id);
    match outbound {
        Some(outbound) => deps.delivery.post(&outbound, remember).await?,
        None => {
            deps.store.write(remember).await?;
            deps.system_events.note(&Principal::Gateway, &session, &text);
        }
    }
    Ok(())
}
