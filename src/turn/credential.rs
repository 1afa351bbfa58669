//! Time-limited credentials: the user name `<unix expiry>:<id>` with the password
//! `base64(HMAC-SHA1(secret, username))`, the form that TURN REST back ends agree on.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// How the credential ids of rooms' members begin.
const MEMBER: &str = "room-member/";

/// A user name and its password, as they go into `iceServers`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `<unix expiry>:<id>`.
    pub username: String,
    /// 28 characters of base64.
    pub password: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Makes a credential for `id` that authorizes new allocations until `expires`, in seconds since 1970.
#[must_use]
pub fn mint(secret: &SecretString, id: &str, expires: u64) -> Credential {
    let username = if id.is_empty() { expires.to_string() } else { format!("{expires}:{id}") };
    let password = password(&signer(secret), &username);
    Credential { username, password }
}

/// The credential id of a room's member. `Server::revoke` with it ends what the member allocated.
#[must_use]
pub fn member_id(peer_id: &str) -> String {
    format!("{MEMBER}{peer_id}")
}

/// Whether a credential's id is that of a room's member.
#[must_use]
pub fn is_member(id: &str) -> bool {
    id.starts_with(MEMBER)
}

/// A secret, ready to sign user names.
pub(super) fn signer(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose_secret().as_bytes())
}

/// The password that belongs to `username`.
pub(super) fn password(signer: &hmac::Key, username: &str) -> String {
    BASE64_STANDARD.encode(hmac::sign(signer, username.as_bytes()))
}

/// Splits a user name into its expiry (seconds since 1970) and its id; `None`: not of this form.
/// A bare expiry has an empty id.
pub(super) fn split(username: &str) -> Option<(u64, &str)> {
    let (expiry, id) = username.split_once(':').unwrap_or((username, ""));
    if expiry.is_empty() || !expiry.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((expiry.parse().ok()?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_credential_is_what_coturn_would_accept() {
        // Computed with: printf '%s' 1767225600:alice | openssl dgst -sha1 -hmac north -binary | base64
        let made = mint(&SecretString::from("north"), "alice", 1_767_225_600);
        assert_eq!(made.username, "1767225600:alice");
        assert_eq!(made.password, "qnVCfmDqv+5N7tpxKH0liO/huIU=");
    }

    #[test]
    fn user_names_split_into_expiry_and_id() {
        assert_eq!(split("12:alice"), Some((12, "alice")));
        assert_eq!(split("12:a:b"), Some((12, "a:b")));
        assert_eq!(split("12"), Some((12, "")));
        assert_eq!(split("alice"), None);
        assert_eq!(split(":alice"), None);
        assert_eq!(split("+12:alice"), None);
        assert_eq!(split("99999999999999999999999:alice"), None);
    }

    #[test]
    fn debugging_a_credential_does_not_print_its_password() {
        let made = mint(&SecretString::from("north"), "alice", 1);
        assert!(!format!("{made:?}").contains(&made.password));
    }
}
