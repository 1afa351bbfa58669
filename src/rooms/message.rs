//! What is said in a room.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::id::PeerId;

/// One message.
#[derive(Clone, Debug)]
pub struct Message {
    /// Ours, fresh.
    pub id: PeerId,
    /// The peer that said it.
    pub from: PeerId,
    /// Its user.
    pub user: Option<Arc<str>>,
    /// What it was called.
    pub name: Option<Arc<str>>,
    /// What was said.
    pub text: Box<str>,
    /// What came along: a JSON array, not looked into.
    pub attachments: Option<Box<RawValue>>,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The sender's own id for it: said again under the same one, it is the same message.
    pub client_id: Option<Arc<str>>,
}

impl Message {
    /// Whose ids its `client_id` is one of: the user's, else the peer's.
    #[must_use]
    pub fn by(&self) -> Arc<str> {
        match &self.user {
            Some(user) => user.clone(),
            None => self.from.with_text(|text| text.into()),
        }
    }
}
