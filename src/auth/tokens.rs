//! The keys in force, which change under a running daemon: with the configuration, and with the file of `auth.jwks`.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::Weak;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use http::HeaderMap;
use http::header;

use super::identity::Identity;
use super::keyring::Keyring;
use super::keyring::Unusable;
use super::refused::Refused;
use crate::stamp::Stamp;

/// How often the file is looked at. A change is taken once two looks agree on it: until then it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Verifies user tokens.
pub struct Tokens {
    current: RwLock<Arc<Keyring>>,
    looks: Mutex<Looks>,
}

/// The file of keys.
#[derive(Default)]
struct Looks {
    /// As it was at the last look.
    seen: Option<Stamp>,
    /// As it was when it could not be used: that is said once.
    refused: Option<Option<Stamp>>,
}

impl Tokens {
    /// By these keys.
    #[must_use]
    pub fn new(keyring: Keyring) -> Tokens {
        Tokens { current: RwLock::new(Arc::new(keyring)), looks: Mutex::default() }
    }

    /// Without any key: nobody needs a token, and none is any good.
    #[must_use]
    pub fn none() -> Tokens {
        Tokens::new(Keyring::empty())
    }

    /// By these keys from now on. Who has come in by the old ones stays.
    pub fn change(&self, keyring: Keyring) {
        let mut looks = self.looks();
        *looks = Looks::default();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn looks(&self) -> std::sync::MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everybody needs one (`auth.mode = "jwt"`).
    #[must_use]
    pub fn required(&self) -> bool {
        self.current().required
    }

    /// Whether any can be verified: there is a key.
    #[must_use]
    pub fn known(&self) -> bool {
        self.current().has_keys()
    }

    /// Whose token it is, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn verify_at(&self, token: &str, now: u64) -> Result<Identity, Refused> {
        self.current().verify(token, now)
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn verify(&self, token: &str) -> Result<Identity, Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.verify_at(token, now.as_secs())
    }

    /// Whether it looks like a token at all: three parts in base64url, of which the signature may be missing (RFC 7515, section 3.1).
    /// A key may look so, too: compare those first.
    #[must_use]
    pub fn looks_like_one(text: &str) -> bool {
        let letters =
            |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let mut parts = text.split('.');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(header), Some(claims), Some(signature), None) => {
                !header.is_empty()
                    && !claims.is_empty()
                    && [header, claims, signature].into_iter().all(letters)
            }
            _ => false,
        }
    }

    /// The token in the cookie of a request (`auth.cookie`). Browsers add it to whatever a page asks for, so the page has to be
    /// one of those that may: the gate for origins comes before.
    #[must_use]
    pub fn in_cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.current().cookie.clone()?;
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(cookie, _)| *cookie == &*name)
            .map(|(_, value)| value.trim().trim_matches('"'))
            .filter(|value| !value.is_empty())
    }

    /// Looks whether the file of keys has changed and is at rest, and if so reads it. Nothing: there was nothing to do.
    pub(super) fn look(&self) -> Option<Result<(), Unusable>> {
        let mut looks = self.looks();
        let current = self.current();
        let file = current.file.as_ref()?;
        let stamp = Stamp::of(&file.path);
        let at_rest = looks.seen == stamp;
        looks.seen = stamp;
        if stamp == file.read {
            // As it is in force: the next fault is a new one.
            looks.refused = None;
            return None;
        }
        if !at_rest || looks.refused == Some(stamp) {
            return None;
        }
        Some(match current.with_set(&file.path) {
            Ok(keyring) => {
                looks.refused = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
                Ok(())
            }
            Err(error) => {
                looks.refused = Some(stamp);
                Err(error)
            }
        })
    }
}

/// Takes over what the file of keys becomes, for as long as the tokens are used.
pub async fn watch(tokens: Weak<Tokens>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(tokens) = tokens.upgrade() else { return };
        // A disk may take its time.
        let looked = tokio::task::spawn_blocking(move || tokens.look()).await;
        match looked {
            Ok(None) | Err(_) => {}
            Ok(Some(Ok(()))) => tracing::info!("the keys of user tokens have changed, and are in force"),
            Ok(Some(Err(error))) => tracing::error!(
                %error,
                "the file of token keys has changed and cannot be used: the old keys stay. Put a JWKS there; it is taken by itself"
            ),
        }
    }
}
