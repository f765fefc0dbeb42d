//! From a request to its response: shutdown, role, scope, parameters, handler.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, OnceLock},
};

use openclaw_platform::BoxFuture;
use openclaw_protocol::{
    connect::Features,
    display,
    error::ErrorShape,
    event::EVENTS,
    frame::{Encoded, RequestFrame, encode_error, encode_ok},
    method::{self, Method, MethodSpec},
    scope::Role,
};
use serde::Serialize;

use crate::{
    bulk_reads::BulkReads,
    failure::Failure,
    hub::Connection,
    lifecycle::Lifecycle,
    rights::{self, Effect},
    settings::Settings,
    wire_error::unencodable,
};

/// What every call has, whichever method it is of.
pub struct Deps {
    /// The configuration.
    pub settings: Settings,
    /// Places for large reads.
    pub reads: Arc<BulkReads>,
    /// Nothing new is accepted while the gateway stops.
    pub lifecycle: Arc<Lifecycle>,
}

/// Who calls.
#[derive(Clone)]
pub struct Call {
    /// The calling connection.
    pub connection: Arc<Connection>,
    /// Id of the request.
    pub id: String,
    pub(crate) deps: Arc<Deps>,
}

impl Call {
    /// Refuses what the caller may not cause.
    ///
    /// # Errors
    /// MISSING_SCOPE.
    pub fn require(&self, effect: Effect<'_>) -> Result<(), rights::Refused> {
        rights::require(&self.deps.settings.get(), &self.connection.principal(), effect)
    }

    /// Whose idempotency keys these are: the device's, else the shared credential's (D19).
    pub fn identity(&self) -> &str {
        self.connection.device_id.as_deref().unwrap_or("shared")
    }
}

/// A result, and what happens right after its response was queued (D34: the response precedes its first event).
pub struct Reply<R> {
    value: Answer<R>,
    then: Option<Box<dyn FnOnce() + Send>>,
}

enum Answer<R> {
    Value(R),
    Encoded(Encoded<R>),
}

impl<R> Reply<R> {
    /// `then` runs once the response is queued.
    pub fn then(value: R, then: impl FnOnce() + Send + 'static) -> Self {
        Self { value: Answer::Value(value), then: Some(Box::new(then)) }
    }
}

impl<R> From<R> for Reply<R> {
    fn from(value: R) -> Self {
        Self { value: Answer::Value(value), then: None }
    }
}

impl<R> From<Encoded<R>> for Reply<R> {
    fn from(value: Encoded<R>) -> Self {
        Self { value: Answer::Encoded(value), then: None }
    }
}

/// An encoded response.
pub struct Response {
    text: String,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Response {
    /// Bytes of its text.
    #[allow(clippy::len_without_is_empty)] // no response is empty
    pub fn len(&self) -> usize {
        self.text.len()
    }
    /// Queues it, then lets what follows happen.
    pub fn send(self, connection: &Connection) {
        connection.outbox.push(self.text);
        if let Some(then) = self.then {
            then();
        }
    }
    /// An error response.
    pub fn error(id: &str, error: &ErrorShape) -> Self {
        Self { text: encode_error(id, error, None), then: None }
    }
}

type Handler = Box<dyn Fn(Call, &str) -> BoxFuture<'static, Response> + Send + Sync>;

/// The handlers by method name.
pub struct Registry {
    deps: Arc<Deps>,
    handlers: BTreeMap<&'static str, Handler>,
    features: OnceLock<Encoded<Features>>,
}

impl Registry {
    /// No method yet.
    pub fn new(deps: Deps) -> Self {
        Self { deps: Arc::new(deps), handlers: BTreeMap::new(), features: OnceLock::new() }
    }

    /// Adds the handler of one method, which is given what its family uses.
    pub fn on<M, D, F, Fut>(&mut self, family: &Arc<D>, handler: F)
    where
        M: Method,
        D: Send + Sync + 'static,
        F: Fn(Arc<D>, Call, M::Params) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply<M::Result>, Failure>> + Send + 'static,
    {
        let (family, handler) = (family.clone(), Arc::new(handler));
        let boxed: Handler = Box::new(move |call, params| match M::parse(params) {
            Err(error) => {
                let response = Response::error(&call.id, &error);
                Box::pin(std::future::ready(response))
            }
            Ok(params) => {
                let (id, family, handler) = (call.id.clone(), family.clone(), handler.clone());
                Box::pin(async move { encode(&id, handler(family, call, params).await) })
            }
        });
        self.handlers.insert(M::SPEC.name, boxed);
    }

    /// What hello-ok tells of methods and events. Complete once all handlers were added.
    pub fn features(&self) -> serde_json::Result<Encoded<Features>> {
        if let Some(features) = self.features.get() {
            return Ok(features.clone());
        }
        let events = EVENTS.iter().map(|e| e.name.to_owned()).collect();
        let features = Encoded::new(&Features { methods: self.listed(), events })?;
        Ok(self.features.get_or_init(|| features).clone())
    }

    /// Methods with a handler, in the table's order, for `features.methods`.
    pub fn listed(&self) -> Vec<String> {
        let here = |m: &&MethodSpec| m.listed && self.handlers.contains_key(m.name);
        method::METHODS.iter().filter(here).map(|m| m.name.to_owned()).collect()
    }

    /// Methods of the table without a handler.
    pub fn missing(&self) -> Vec<&'static str> {
        let names = method::METHODS.iter().map(|m| m.name);
        names.filter(|n| !self.handlers.contains_key(n)).collect()
    }

    /// Answers one request of a connection. What can be refused at once is; the rest may take time.
    pub fn dispatch(&self, connection: Arc<Connection>, request: &RequestFrame<'_>) -> BoxFuture<'static, Response> {
        let call = Call { connection, id: request.id.clone().into_owned(), deps: self.deps.clone() };
        if let Err(error) = allowed(&call, &request.method) {
            return Box::pin(std::future::ready(Response::error(&call.id, &error)));
        }
        match self.handlers.get(request.method.as_ref()) {
            Some(handler) => handler(call, request.params_text()),
            None => {
                let error =
                    ErrorShape::invalid("UNKNOWN_METHOD", format!("unknown method: {}", shown(&request.method)));
                Box::pin(std::future::ready(Response::error(&call.id, &error)))
            }
        }
    }
}

/// Closing, shutdown, role gate, scope gate, in this order (protocol-core.md section 9). An unknown method counts as admin's.
fn allowed(call: &Call, name: &str) -> Result<(), ErrorShape> {
    // A peer that does not read its close frame must not go on to act (D15).
    if call.connection.outbox.is_closing() {
        return Err(ErrorShape::unavailable("CLOSING", "this connection is being closed"));
    }
    if let Some(after) = call.deps.lifecycle.draining() {
        return Err(ErrorShape::unavailable("SHUTTING_DOWN", "gateway is shutting down").retry(Some(after)));
    }
    let spec = method::find(name);
    let role = spec.map_or(Role::Operator, |s| s.role);
    if call.connection.role != role {
        let mine = call.connection.role.as_str();
        return Err(ErrorShape::invalid("UNAUTHORIZED_ROLE", format!("unauthorized role: {mine}")));
    }
    let scope = spec.map_or(openclaw_protocol::scope::Scope::Admin, |s| s.scope);
    if role == Role::Operator && !call.connection.scopes.allow(scope) {
        return Err(rights::Refused::Scope(scope).into());
    }
    if name == "connect" {
        let text = "connect is only valid as the first request";
        return Err(ErrorShape::invalid("ALREADY_CONNECTED", text));
    }
    Ok(())
}

/// A client's own word, bounded and as it may be shown (S18, S31).
fn shown(name: &str) -> String {
    display::short(name, 64)
}

fn encode<R: Serialize>(id: &str, result: Result<Reply<R>, Failure>) -> Response {
    match result {
        Err(failure) => {
            let (error, payload) = failure.into_parts();
            Response { text: encode_error(id, &error, payload.as_ref()), then: None }
        }
        Ok(Reply { value: Answer::Encoded(value), then }) => Response { text: value.response(id), then },
        Ok(Reply { value: Answer::Value(value), then }) => match encode_ok(id, &value) {
            Ok(text) => Response { text, then },
            Err(error) => Response::error(id, &unencodable(&error)),
        },
    }
}
