//! Device keys of clients: secrets that the seed draws, and ids of devices in what scripts say.

use std::fmt;

use openclaw_client::DeviceKey;
use openclaw_platform::Entropy;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Client, Deed};

/// Stands in parameters before the name of the client whose device id is meant.
const NAMED: &str = "device:";

/// The secret that a device key is made from: 64 hex characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceSeed([u8; 32]);

impl DeviceSeed {
    pub(super) fn draw(entropy: &dyn Entropy) -> Self {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        Self(seed)
    }

    /// The key.
    pub fn key(&self) -> DeviceKey {
        DeviceKey::from_seed(self.0)
    }
}

impl fmt::Display for DeviceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<DeviceSeed> for String {
    fn from(seed: DeviceSeed) -> Self {
        seed.to_string()
    }
}

impl TryFrom<String> for DeviceSeed {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "a device's secret has 64 hex characters";
        let mut seed = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong);
        }
        for (n, byte) in seed.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(seed))
    }
}

/// Names of devices in parameters, `NAMED` taken off.
pub fn named(params: &Value) -> Vec<String> {
    let mut names = Vec::new();
    each_text(&mut params.clone(), &mut |text| names.extend(text.strip_prefix(NAMED).map(str::to_owned)));
    names
}

/// Puts ids in the place of names.
pub(super) fn name_devices(clients: &mut [Client]) {
    let ids: Vec<_> =
        clients.iter().filter_map(|c| Some((c.name.clone(), c.device.as_ref()?.key().device_id()))).collect();
    let id = |name: &str| ids.iter().find(|(known, _)| known == name).map(|(_, id)| id.clone());
    for action in clients.iter_mut().flat_map(|c| &mut c.actions) {
        if let Deed::Call { params, .. } = &mut action.deed {
            each_text(params, &mut |text| {
                if let Some(id) = text.strip_prefix(NAMED).and_then(id) {
                    *text = id;
                }
            });
        }
    }
}

/// The same in a configuration, for members and values that are nothing but a name.
pub(super) fn name_devices_in(config: String, clients: &[Client]) -> String {
    clients.iter().fold(config, |text, c| match &c.device {
        Some(seed) => text.replace(&format!("\"{NAMED}{}\"", c.name), &format!("\"{}\"", seed.key().device_id())),
        None => text,
    })
}

/// Every text in a value.
pub fn each_text(value: &mut Value, found: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(list) => list.iter_mut().for_each(|v| each_text(v, found)),
        Value::Object(map) => map.values_mut().for_each(|v| each_text(v, found)),
        _ => {}
    }
}
