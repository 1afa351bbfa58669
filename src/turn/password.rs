//! Password algorithms, and the long-term keys that they make (RFC 8489, sections 9.2.2 and 18.5.1).

use ring::digest;
use webrtc_turn::auth::generate_auth_key;

/// How a password becomes a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PasswordAlgorithm {
    Md5,
    Sha256,
}

/// PASSWORD-ALGORITHMS as we send it: SHA-256 rather than MD5; neither has parameters.
pub(super) const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

impl PasswordAlgorithm {
    /// The value of a PASSWORD-ALGORITHM; `None`: not one of those in our list.
    pub(super) fn from_wire(value: &[u8]) -> Option<Self> {
        match value {
            [0, 1, 0, 0] => Some(Self::Md5),
            [0, 2, 0, 0] => Some(Self::Sha256),
            _ => None,
        }
    }
}

/// A long-term key. `Debug` does not show it.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Md5([u8; 16]),
    Sha256([u8; 32]),
}

impl Key {
    /// The hash of user name, realm and password with colons between. What needs preparation (OpaqueString) has been
    /// prepared by whoever made it up: our names and passwords are taken as they are.
    pub(super) fn new(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        match algorithm {
            PasswordAlgorithm::Md5 => {
                let key = generate_auth_key(username, realm, password);
                Self::Md5(key.try_into().unwrap_or_default())
            }
            PasswordAlgorithm::Sha256 => {
                let mut context = digest::Context::new(&digest::SHA256);
                for (at, part) in [username, realm, password].into_iter().enumerate() {
                    if at != 0 {
                        context.update(b":");
                    }
                    context.update(part.as_bytes());
                }
                Self::Sha256(finish(context))
            }
        }
    }

    pub(super) fn algorithm(&self) -> PasswordAlgorithm {
        match self {
            Self::Md5(_) => PasswordAlgorithm::Md5,
            Self::Sha256(_) => PasswordAlgorithm::Sha256,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Md5(key) => key,
            Self::Sha256(key) => key,
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.algorithm()).finish_non_exhaustive()
    }
}

/// USERHASH's value for a user name (RFC 8489, section 14.4).
pub(super) fn userhash(username: &str, realm: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(username.as_bytes());
    context.update(b":");
    context.update(realm.as_bytes());
    finish(context)
}

fn finish(context: digest::Context) -> [u8; 32] {
    context.finish().as_ref().try_into().unwrap_or_default()
}
