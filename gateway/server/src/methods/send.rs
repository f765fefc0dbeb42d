//! send (agent-chat-channels.md section 8): through a channel, once per key.

use std::sync::Arc;

use openclaw_protocol::params::{Send, SendParams};

use crate::{
    delivery::sends::Sends,
    dispatch::{Call, Reply},
    failure::Failure,
};

pub async fn send(sends: Arc<Sends>, call: Call, params: SendParams) -> Result<Reply<Send>, Failure> {
    Ok(sends.send(&call.connection.principal(), (call.identity(), None), params).await?.into())
}
