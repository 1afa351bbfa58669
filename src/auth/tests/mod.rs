//! Tokens of an issuer that is played here, good ones and bad ones.

mod abuse;
mod claims;
mod keys;
mod signer;
mod watch;
