//! What a tool gives never has the gateway's own secrets in it (S28).

use std::sync::Arc;

use openclaw_agent::{
    provider::ToolSpec,
    tool::{Tool, ToolOutput},
};
use openclaw_platform::BoxFuture;

use crate::secrets::Secrets;

/// A tool whose output is masked before anything sees it: the model, the transcript, events, and the bound that cuts it.
pub struct Masked {
    tool: Arc<dyn Tool>,
    secrets: Arc<Secrets>,
}

impl Masked {
    /// `tool`, masked.
    pub fn new(tool: Arc<dyn Tool>, secrets: &Arc<Secrets>) -> Self {
        Self { tool, secrets: secrets.clone() }
    }
}

impl Tool for Masked {
    fn spec(&self) -> ToolSpec {
        self.tool.spec()
    }

    fn call(&self, arguments: serde_json::Value) -> BoxFuture<'_, ToolOutput> {
        Box::pin(async move {
            let output = self.tool.call(arguments).await;
            ToolOutput { text: self.secrets.mask(&output.text).into_owned(), ..output }
        })
    }
}
