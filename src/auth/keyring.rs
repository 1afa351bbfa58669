//! The keys of one configuration, and what it wants of tokens.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::ExposeSecret;

use super::claims::Rules;
use super::identity::Identity;
use super::jwks;
use super::key::Key;
use super::pem;
use super::refused::Refused;
use super::token::Token;
use crate::config::Auth;
use crate::config::AuthKey;
use crate::config::AuthMode;
use crate::stamp::Stamp;

/// A set of keys is a few kilobytes; `/dev/zero` is none.
const LONGEST: u64 = 1 << 20;

/// Keys of the configuration that cannot be used. The words hold no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Unusable {
    /// The key of the configuration: `auth.key` or `auth.jwks`.
    pub key: &'static str,
    /// What is wrong, and the mend.
    pub what: String,
}

/// What tokens are verified with.
pub struct Keyring {
    pub(super) required: bool,
    pub(super) cookie: Option<Arc<str>>,
    rules: Arc<Rules>,
    /// `auth.key`.
    own: Arc<[Key]>,
    /// `auth.jwks`.
    set: Arc<[Key]>,
    pub(super) file: Option<Watched>,
}

/// The file of the set, as it was when it was read.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) path: PathBuf,
    pub(super) read: Option<Stamp>,
}

impl Keyring {
    /// Without keys.
    pub(super) fn empty() -> Keyring {
        Keyring {
            required: false,
            cookie: None,
            rules: Arc::default(),
            own: Arc::new([]),
            set: Arc::new([]),
            file: None,
        }
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn read(auth: &Auth) -> Result<Keyring, Unusable> {
        let own = match &auth.key {
            None => Vec::new(),
            Some(AuthKey::Secret(secret)) => vec![
                Key::hmac(secret.expose_secret().as_bytes())
                    .map_err(|what| Unusable { key: "auth.key", what: what.to_owned() })?,
            ],
            Some(AuthKey::Public { pem, file }) => pem::keys(pem).map_err(|what| {
                let file = file
                    .as_ref()
                    .map_or_else(|| "the public key".to_owned(), |file| file.display().to_string());
                Unusable {
                    key: "auth.key",
                    what: format!("{file}: {what}; write it anew (openssl pkey -pubout)"),
                }
            })?,
        };
        let mut keyring = Keyring {
            required: auth.mode == AuthMode::Jwt,
            cookie: auth.cookie.as_deref().map(Arc::from),
            rules: Arc::new(Rules {
                issuer: auth.issuer.clone(),
                audience: auth.audience.clone(),
                leeway: auth.leeway.as_secs(),
            }),
            own: own.into(),
            ..Keyring::empty()
        };
        if let Some(path) = &auth.jwks {
            keyring = keyring.with_set(path)?;
        }
        Ok(keyring)
    }

    /// The same with the keys that are in the file now.
    pub(super) fn with_set(&self, path: &Path) -> Result<Keyring, Unusable> {
        // Before it is read: a change in between is found at the next look.
        let stamp = Stamp::of(path);
        let told = |what: String| Unusable { key: "auth.jwks", what: format!("{}: {what}", path.display()) };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST).read_to_string(&mut text))
            .map_err(|error| told(error.to_string()))?;
        let (keys, others) = jwks::keys(&text).map_err(told)?;
        tracing::debug!(path = %path.display(), keys = keys.len(), not_used = others.join("; "), "token keys read");
        Ok(Keyring {
            required: self.required,
            cookie: self.cookie.clone(),
            rules: Arc::clone(&self.rules),
            own: Arc::clone(&self.own),
            set: keys.into(),
            file: Some(Watched { path: path.to_owned(), read: stamp }),
        })
    }

    /// Whether there is any key at all.
    pub(super) fn has_keys(&self) -> bool {
        !self.own.is_empty() || !self.set.is_empty()
    }

    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Identity, Refused> {
        let token = Token::read(token)?;
        let algorithm = token.algorithm.ok_or(Refused::NoKey)?;
        let all = || self.own.iter().chain(&*self.set).filter(|key| key.accepts(algorithm));
        // A name chooses among the keys that have one; those without take any.
        let named = |key: &&Key| token.kid.is_some() && key.kid.as_deref() == token.kid.as_deref();
        let called = all().any(|key| named(&key));
        let mut tried = false;
        for key in all().filter(|key| match &token.kid {
            Some(_) if called => named(key),
            Some(_) => key.kid.is_none(),
            None => true,
        }) {
            tried = true;
            if key.verifies(algorithm, token.message, &token.signature) {
                return self.rules.judge(&token.payload, now);
            }
        }
        Err(if tried { Refused::Signature } else { Refused::NoKey })
    }
}
