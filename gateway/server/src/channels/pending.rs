//! What came with a message and is not fetched yet.

use std::sync::Arc;

use openclaw_channels::{Channel, InboundMedia};

/// Attachments to fetch when the run begins.
#[derive(Clone)]
pub struct Pending {
    /// The account that can fetch them.
    pub channel: Arc<dyn Channel>,
    /// References.
    pub media: Vec<InboundMedia>,
}
