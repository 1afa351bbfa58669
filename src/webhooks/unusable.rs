//! What of the configuration cannot be used.

/// The words hold no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Unusable {
    /// The key of the configuration.
    pub key: &'static str,
    /// What is wrong, and the mend.
    pub what: String,
}
