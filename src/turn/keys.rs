//! Who may be let in: shared secrets of time-limited user names, and users with a password of their own.

use ahash::RandomState;
use hashbrown::HashMap;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

use super::allocation::user as user_id;
use super::credential;
use super::password::{Key, PasswordAlgorithm, userhash};
use super::random::Random;

/// Everything that lets a client in. `Debug` shows user names, but no secret and no password.
#[derive(Clone, Default, Debug)]
pub struct Keys {
    /// Shared secrets of the `<unix expiry>:<id>` user names. All verify; which of them signs is the signer's affair.
    pub secrets: Vec<SecretString>,
    /// User names with passwords that do not expire. Of a name that comes twice the last counts; one that has the form of a
    /// room member's id lets nobody in.
    pub users: Vec<(String, SecretString)>,
}

/// Names a secret, or a user with its password, without telling anything of it. Another server has other tags.
pub(super) type Tag = [u8; 8];

#[derive(Debug)]
pub(super) struct Secret {
    pub(super) signer: hmac::Key,
    pub(super) tag: Tag,
}

/// A user with a password of its own.
#[derive(Debug)]
pub(super) struct User {
    md5: Key,
    sha256: Key,
    pub(super) tag: Tag,
}

impl User {
    pub(super) fn key(&self, algorithm: PasswordAlgorithm) -> Key {
        match algorithm {
            PasswordAlgorithm::Md5 => self.md5,
            PasswordAlgorithm::Sha256 => self.sha256,
        }
    }
}

/// [`Keys`], ready for use.
#[derive(Debug)]
pub(super) struct Keyring {
    pub(super) secrets: Vec<Secret>,
    users: HashMap<Box<str>, User, RandomState>,
    by_hash: HashMap<[u8; 32], Box<str>, RandomState>,
    /// Stands in for users that there are not, so that asking for one takes as long.
    nobody: User,
}

/// Makes tags; kept by the server, so that the same secret has the same tag again.
#[derive(Debug)]
pub(super) struct Tagger(hmac::Key);

impl Tagger {
    pub(super) fn new(random: &mut Random) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()))
    }

    /// A user has a name, a secret none.
    fn tag(&self, name: Option<&str>, secret: &SecretString) -> Tag {
        let mut context = hmac::Context::with_key(&self.0);
        if let Some(name) = name {
            context.update(&(name.len() as u64 + 1).to_be_bytes());
            context.update(name.as_bytes());
        } else {
            context.update(&0_u64.to_be_bytes());
        }
        context.update(secret.expose_secret().as_bytes());
        let mut tag = Tag::default();
        let length = tag.len();
        tag.copy_from_slice(&context.sign().as_ref()[..length]);
        tag
    }
}

impl Keyring {
    pub(super) fn new(keys: &Keys, realm: &str, tagger: &Tagger, hasher: &RandomState) -> Self {
        let user = |name: &str, password: &SecretString| {
            let key = |algorithm| Key::new(algorithm, name, realm, password.expose_secret());
            let (md5, sha256) = (key(PasswordAlgorithm::Md5), key(PasswordAlgorithm::Sha256));
            User { md5, sha256, tag: tagger.tag(Some(name), password) }
        };
        let secret = |secret| Secret { signer: credential::signer(secret), tag: tagger.tag(None, secret) };
        let mut ring = Self {
            secrets: keys.secrets.iter().map(secret).collect(),
            users: HashMap::with_hasher(hasher.clone()),
            by_hash: HashMap::with_hasher(hasher.clone()),
            nobody: user("", &SecretString::default()),
        };
        for (name, password) in keys.users.iter().filter(|(name, _)| !credential::is_member(user_id(name))) {
            ring.by_hash.insert(userhash(name, realm), name.as_str().into());
            ring.users.insert(name.as_str().into(), user(name, password));
        }
        ring
    }

    /// The user of that name, or somebody whom no password opens to: then `None` beside it.
    pub(super) fn user(&self, name: &str) -> (&User, Option<Tag>) {
        self.users.get(name).map_or((&self.nobody, None), |user| (user, Some(user.tag)))
    }

    /// Whether there is a user of that name.
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// The name behind a USERHASH.
    pub(super) fn unhash(&self, hash: &[u8]) -> Option<&str> {
        let hash: &[u8; 32] = hash.try_into().ok()?;
        self.by_hash.get(hash).map(|name| &**name)
    }

    /// Whether each user name there can be is found by its USERHASH: those of the secrets cannot.
    pub(super) fn unhashes_all(&self) -> bool {
        self.secrets.is_empty() && !self.users.is_empty()
    }

    /// Whether what has this tag still lets anybody in.
    pub(super) fn holds(&self, tag: Tag) -> bool {
        self.secrets.iter().any(|secret| secret.tag == tag) || self.users.values().any(|user| user.tag == tag)
    }
}
