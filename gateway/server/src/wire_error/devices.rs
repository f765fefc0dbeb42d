//! Paired devices.

use openclaw_protocol::error::ErrorShape;

use super::{fails_with, storage};
use crate::devices::DeviceError;

fails_with!(DeviceError);

impl From<DeviceError> for ErrorShape {
    fn from(error: DeviceError) -> Self {
        let text = error.to_string();
        match error {
            DeviceError::UnknownRequest => Self::invalid("UNKNOWN_REQUEST", text),
            DeviceError::UnknownDevice => Self::invalid("UNKNOWN_DEVICE", text),
            DeviceError::MissingScope(scope) => Self::invalid("MISSING_SCOPE", text).with("scope", scope),
            DeviceError::NotApproved(scope) => Self::invalid("SCOPE_NOT_APPROVED", text).with("scope", scope),
            DeviceError::Store(error) => storage(error),
        }
    }
}
