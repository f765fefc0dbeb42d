//! Tells the session that asked, exactly once.

use std::sync::Arc;

use openclaw_platform::Storage;

use super::RestartNote;
use crate::{
    delivery::{Delivery, Draft, outbound::Cause},
    rights::Principal,
    sessions::{key, store::Sessions},
    settings::Settings,
    store::{self, RESTARTS, Store, StoreError},
    system_events::SystemEvents,
};

/// The record that says which note was told last.
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
    // The file goes after the record: a process that dies in between finds both.
    let id = format!("{} {}", note.payload.ts, note.payload.kind);
    let told: Vec<(String, String)> = deps.store.read(|tx| store::all(tx, RESTARTS))?;
    if !told.iter().any(|(_, told)| *told == id) {
        let config = deps.settings.get();
        let asked = note.payload.session_key.as_deref().and_then(|shown| key::canonical(&config, shown));
        let session = asked.unwrap_or_else(|| key::main_key(&config, key::default_agent(&config)));
        let route = deps.sessions.get(&session)?.and_then(|entry| entry.delivery_context);
        let cause = Cause { session_key: Some(session.clone()), ..Cause::default() };
        let draft = |route| Draft { route, text: note.text(), reply_to: None, cause };
        let outbound = route.and_then(|route| deps.delivery.compose(&Principal::Gateway, draft(route)).ok());
        let remember = move |tx: &redb::WriteTransaction| store::put(&mut tx.open_table(RESTARTS)?, TOLD, &id);
        match outbound {
            Some(outbound) => deps.delivery.post(&outbound, remember).await?,
            None => {
                deps.store.write(remember).await?;
                deps.system_events.note(&Principal::Gateway, &session, &note.text());
            }
        }
    }
    super::forget(&*deps.storage);
    Ok(())
}
