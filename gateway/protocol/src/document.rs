//! The whole protocol as one JSON Schema document: `openclaw protocol schema`.

use serde_json::{Map, Value, json};

use crate::{
    approvals,
    connect::{Challenge, PROTOCOL},
    event::{self, EVENTS},
    frame::{EventFrame, OwnedRequest, ResponseFrame},
    method::METHODS,
    nodes, schema,
};

/// `{protocol, frames, methods, events}`: every frame, and per method role, scope, params and result.
pub fn document() -> Value {
    let methods: Map<String, Value> = METHODS
        .iter()
        .map(|m| {
            let row = json!({
                "summary": m.summary, "role": m.role, "scope": m.scope, "listed": m.listed,
                "params": (m.params)(), "result": (m.result)(),
            });
            (m.name.to_owned(), row)
        })
        .collect();
    let events: Map<String, Value> = EVENTS
        .iter()
        .map(|e| {
            (
                e.name.to_owned(),
                json!({ "scope": e.scope, "droppable": e.droppable, "nodes": e.nodes, "payload": payload(e.name) }),
            )
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "OpenClaw gateway protocol",
        "protocol": PROTOCOL,
        "frames": {
            "request": schema::of::<OwnedRequest>(),
            "response": schema::of::<ResponseFrame>(),
            "event": schema::of::<EventFrame>(),
        },
        "methods": methods,
        "events": events,
    })
}

fn payload(event: &str) -> Value {
    match event {
        "connect.challenge" => schema::of::<Challenge>(),
        "agent" => schema::of::<event::AgentEvent>(),
        "chat" => schema::of::<event::ChatEvent>(),
        "presence" => schema::of::<event::PresenceEvent>(),
        "tick" => schema::of::<event::Tick>(),
        "shutdown" => schema::of::<event::Shutdown>(),
        "health" => schema::of::<crate::params::Health>(),
        "heartbeat" => schema::of::<crate::params::Heartbeat>(),
        "device.pair.requested" => schema::of::<event::DevicePairRequested>(),
        "device.pair.resolved" => schema::of::<event::DevicePairResolved>(),
        "node.pair.requested" => schema::of::<nodes::NodePairRequest>(),
        "node.pair.resolved" => schema::of::<nodes::NodePairResolved>(),
        "node.invoke.request" => schema::of::<nodes::NodeInvokeRequest>(),
        "node.invoke.cancel" => schema::of::<nodes::NodeInvokeCancelled>(),
        "voicewake.changed" => schema::of::<nodes::VoiceWake>(),
        "exec.approval.requested" => schema::of::<approvals::ExecApprovalRequested>(),
        "exec.approval.resolved" => schema::of::<approvals::ExecApprovalResolved>(),
        "talk.mode" => schema::of::<nodes::TalkMode>(),
        _ => Value::Bool(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_payload_schema_and_every_schema_compiles() {
        for e in EVENTS {
            assert_ne!(payload(e.name), Value::Bool(true), "{}", e.name);
            jsonschema::validator_for(&payload(e.name)).unwrap();
        }
        for m in METHODS {
            jsonschema::validator_for(&(m.params)()).unwrap();
            jsonschema::validator_for(&(m.result)()).unwrap();
        }
    }

    #[test]
    fn method_names_are_unique() {
        let names: std::collections::BTreeSet<_> = METHODS.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), METHODS.len());
    }
}
