//! The gateway's own secrets: what they are now, and how they are kept out of what agents see and send (S28, S29).

use std::{borrow::Cow, sync::Arc};

use openclaw_config::{Masker, Secret};

use crate::{
    devices::Devices,
    nodes::Pairings,
    options::{OwnSecrets, ServerOptions, SharedAuth},
};

/// Knows what has to be kept secret.
pub struct Secrets {
    masker: Masker,
    auth: SharedAuth,
    channel_tokens: Vec<Secret>,
    own: OwnSecrets,
    devices: Arc<Devices>,
    pairings: Arc<Pairings>,
}

impl Secrets {
    /// What these hold, and what the gateway was started with.
    pub fn new(options: &ServerOptions, devices: Arc<Devices>, pairings: Arc<Pairings>) -> Self {
        Self {
            masker: options.masker.clone(),
            auth: options.auth.clone(),
            channel_tokens: options.channel_tokens.values().cloned().collect(),
            own: options.own_secrets.clone(),
            devices,
            pairings,
        }
    }

    /// `text` without the gateway's secrets and without what looks like one. What the configuration, the devices and the
    /// nodes hold at this moment counts: a secret that was replaced a moment ago, by whatever program, is known.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.learn();
        self.masker.mask(text)
    }

    /// True when one of the gateway's secrets stands in `bytes`.
    pub fn stand_in(&self, bytes: &[u8]) -> bool {
        self.learn();
        self.masker.knows(bytes)
    }

    fn learn(&self) {
        let shared = [&self.auth.token, &self.auth.password].into_iter().flatten();
        let shared = shared.chain(&self.channel_tokens).map(|secret| secret.expose().to_owned());
        let tokens = self.devices.tokens().into_iter().chain(self.pairings.tokens());
        self.masker.learn((self.own)().into_iter().chain(shared).chain(tokens));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use openclaw_agent::{
        provider::ToolSpec,
        tool::{Tool, ToolOutput},
    };
    use openclaw_config::{AuthMode, Config};
    use openclaw_platform::{BoxFuture, os};
    use serde_json::{Value, json};

    use super::*;
    use crate::{gateway::Gateway, tools::Masked};

    /// Gives its own arguments.
    struct Echo;

    impl Tool for Echo {
        fn spec(&self) -> ToolSpec {
            ToolSpec { name: "echo".into(), description: String::new(), parameters: json!({}) }
        }
        fn call(&self, arguments: Value) -> BoxFuture<'_, ToolOutput> {
            Box::pin(std::future::ready(ToolOutput::error(arguments["text"].as_str().unwrap_or_default())))
        }
    }

    #[tokio::test]
    async fn s28_own_secrets_are_in_no_result_of_a_tool_and_rotated_ones_are_known_at_once() {
        let file = Arc::new(Mutex::new(vec!["first-planted-value".to_owned()]));
        let read = file.clone();
        let token = Some(Secret::new("shared-planted-token"));
        let options = ServerOptions {
            auth: SharedAuth { mode: AuthMode::Token, token, password: None, file: None },
            own_secrets: Arc::new(move || read.lock().unwrap().clone()),
            ..ServerOptions::bare(Arc::new(Config::default()))
        };
        let gateway = Gateway::open(os::without_files(), options).unwrap();
        let tool = Masked::new(Arc::new(Echo), &gateway.secrets);
        let call = async |text: &str| tool.call(json!({ "text": text })).await;
        let output = call("a shared-planted-token b first-planted-value c second-planted-value").await;
        assert_eq!(output, ToolOutput::error("a *** b *** c second-planted-value"));
        file.lock().unwrap()[0] = "second-planted-value".to_owned();
        assert_eq!(call("first-planted-value second-planted-value").await.text, "*** ***");
        assert!(
            gateway.secrets.stand_in(b"\0{token:'shared-planted-token'}\xff") && !gateway.secrets.stand_in(b"shared")
        );
    }
}
