//! nodes_list, node_invoke, node_run.

use openclaw_agent::exec::ExecRequest;
use openclaw_protocol::nodes::{NodeInvokeParams, NodeList};
use serde_json::{Value, json};

use super::own::{Context, Failed, IDENTITY, params, text, timeout, told};
use crate::nodes::{allowlist, commands::Asker};

pub fn list(context: &Context) -> Result<Value, Failed> {
    let deps = &context.deps;
    told(Ok::<_, Failed>(NodeList { ts: deps.platform.clock.wall(), nodes: deps.nodes.list(deps.devices.nodes()) }))
}

pub async fn invoke(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let command = text(arguments, "command")?;
    if command == allowlist::SYSTEM_RUN {
        return Err("use node_run to run programs on a node".into());
    }
    if command.starts_with(allowlist::POLICY) {
        return Err("agents do not change which programs may run".into());
    }
    let mut wanted = json!({
        "nodeId": text(arguments, "nodeId")?,
        "command": command,
        "timeoutMs": u64::try_from(timeout(arguments).as_millis()).unwrap_or(u64::MAX),
        "idempotencyKey": context.key(),
    });
    if arguments["params"].is_object() {
        wanted["params"] = arguments["params"].clone();
    }
    let asker = Asker { by: context.by.clone(), identity: IDENTITY.to_owned(), is_admin: false };
    let wanted = params::<NodeInvokeParams>(wanted)?;
    let answer = told(context.deps.node_commands.invoke(&asker, wanted).await)?;
    Ok(answer["payload"].clone())
}

pub async fn run(context: &Context, arguments: &Value) -> Result<Value, Failed> {
    let node_id = text(arguments, "nodeId")?;
    let wanted = json!({"command": arguments["command"], "cwd": arguments["cwd"]});
    let request = ExecRequest::from_params(&wanted).map_err(|e| e.to_string())?;
    let request =
        ExecRequest { session_key: Some(context.session_key.clone()), agent_id: context.agent_id.clone(), ..request };
    request.check().map_err(|e| e.to_string())?;
    let answer = context.deps.node_commands.run(node_id, &request, timeout(arguments)).await;
    Ok(answer.map_err(|e| e.to_string())?.payload.unwrap_or_default())
}
