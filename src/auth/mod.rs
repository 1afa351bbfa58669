//! Who may: user tokens, JWT (RFC 7519) signed by whom the operator trusts. ring computes the signatures.
//!
//! A token names an algorithm and perhaps a key; neither is believed. The keys are the operator's (`auth.key`, `auth.jwks`), and each
//! accepts the algorithms of its own kind (RFC 8725, section 3.1), so that no token chooses how it is verified.

mod algorithm;
mod bearer;
mod claims;
mod identity;
mod jwks;
mod key;
mod keyring;
mod mint;
mod pem;
mod refused;
#[cfg(test)]
mod tests;
mod token;
mod tokens;

pub use bearer::bearer;
pub use identity::Identity;
pub use identity::Role;
pub use keyring::Keyring;
pub use keyring::Unusable;
pub use mint::Minted;
pub use mint::mint;
pub use refused::Refused;
pub use tokens::Tokens;
pub use tokens::watch;
