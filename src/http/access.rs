//! Who is asking: the operator with its token, a back end with its key, a user with a token of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use subtle::Choice;
use subtle::ConstantTimeEq;

use super::problem;
use super::too_many;
use super::users::Mint;
use crate::auth;
use crate::auth::Identity;
use crate::auth::Tokens;
use crate::auth::bearer;
use crate::rate::Throttle;

/// How many addresses, and users, are remembered.
const MOST: usize = 4096;

/// Who may do what over HTTP.
pub struct Access {
    keys: RwLock<Arc<Keys>>,
    tokens: Arc<Tokens>,
    /// Wrong keys.
    guesses: Throttle,
    /// What is asked without a key and without a token.
    requests: Throttle,
    /// What is asked with a token that does not verify.
    tokens_shown: Throttle,
    /// What is asked with one that does, for each user.
    users: Throttle<Arc<str>>,
    refused: AtomicU64,
    hasty: AtomicU64,
    /// How many admin tokens there were before this one.
    replaced: AtomicU64,
}

/// What opens what.
pub struct Keys {
    /// The operator's.
    pub admin_token: SecretString,
    /// Back ends'.
    pub api_keys: Vec<SecretString>,
    /// Whether everybody may ask for credentials.
    pub open_ice: bool,
    /// Makes user tokens; none: there is no secret to sign them with.
    pub mint: Option<Mint>,
}

/// Who asks for credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A back end, for whomever it names.
    BackEnd,
    /// The bearer of a user's token, which opens no more than it says and for no longer.
    User(Identity),
    /// Anybody.
    Stranger,
}

/// Who asks about rooms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// The operator.
    Operator,
    /// A back end.
    BackEnd,
    /// Anybody; a user's token makes no difference.
    Anybody,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// Without a key, or with a wrong one.
    Unknown,
    /// With a user token that was good.
    Expired,
    /// With a wrong one, and too many of those came from this address.
    Throttled(Duration),
    /// Without a key, and too many such requests came from this address.
    Hasty(Duration),
}

impl Refused {
    /// The answer; `status` is the one for a wrong key.
    pub(super) fn answer(self, status: StatusCode, what: &str) -> Response {
        match self {
            Refused::Unknown => {
                let code = if status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthorized" };
                let asks = [(header::WWW_AUTHENTICATE, "Bearer"), (header::CACHE_CONTROL, "no-store")];
                (asks, problem(status, code, what)).into_response()
            }
            Refused::Expired => {
                let asks = [
                    (header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
                    (header::CACHE_CONTROL, "no-store"),
                ];
                (asks, problem(status, auth::Refused::Expired.code(), "the token has expired"))
                    .into_response()
            }
            Refused::Throttled(wait) => too_many("too many wrong keys", wait),
            Refused::Hasty(wait) => too_many("too many requests of this address", wait),
        }
    }
}

impl Access {
    /// By these keys, and by user tokens. `per_second`: how many requests of an address that show no key, and of a user with a
    /// token, are heard in the long run; 0: no limit.
    #[must_use]
    pub fn new(keys: Keys, tokens: Arc<Tokens>, per_second: u32) -> Access {
        let now = now();
        Access {
            keys: RwLock::new(Arc::new(keys)),
            tokens,
            guesses: Throttle::new(1, MOST, now),
            requests: Throttle::new(per_second, MOST, now),
            tokens_shown: Throttle::new(per_second, MOST, now),
            users: Throttle::new(per_second, MOST, now),
            refused: AtomicU64::new(0),
            hasty: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// By these keys from now on.
    pub fn change(&self, keys: Keys) {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let same = current.admin_token.expose_secret() == keys.admin_token.expose_secret();
        *current = Arc::new(keys);
        // After the keys: who has read the new number is let in by the new token alone.
        if !same {
            self.replaced.fetch_add(1, Release);
        }
    }

    /// Another number for each admin token: who was let in under another one than this has to show the new one.
    #[must_use]
    pub fn admin_era(&self) -> u64 {
        self.replaced.load(Acquire)
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What makes user tokens, if anything does.
    pub(super) fn mint(&self) -> Option<Mint> {
        self.keys().mint.clone()
    }

    /// How many requests were refused for their key or token.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// How many requests were refused for their number.
    #[must_use]
    pub fn hasty(&self) -> u64 {
        self.hasty.load(Relaxed)
    }

    /// Counts a request that shows neither key nor token.
    fn keyless(&self, from: IpAddr) -> Result<(), Refused> {
        self.requests.count(from, now()).map(drop).map_err(|wait| self.hurry(wait))
    }

    fn hurry(&self, wait: Duration) -> Refused {
        self.hasty.fetch_add(1, Relaxed);
        Refused::Hasty(wait)
    }

    /// Whose token this is. Counted for the address before it is verified, which takes longer than to refuse it, and if it is good for
    /// its user instead: users share addresses, and neither those without a token nor those with one too many keep the others out.
    fn proven(&self, from: IpAddr, token: &str) -> Result<Identity, Refused> {
        let now = now();
        self.tokens_shown.count(from, now).map_err(|wait| self.hurry(wait))?;
        let user = self.user(token)?;
        self.tokens_shown.give_back(from);
        self.users.count_of(Arc::clone(&user.user), now).map_err(|wait| self.hurry(wait))?;
        Ok(user)
    }

    /// Whether the operator asks: `Ok(false)` without any token.
    ///
    /// # Errors
    /// The token is wrong.
    pub(super) fn admin(&self, from: IpAddr, headers: &HeaderMap) -> Result<bool, Refused> {
        match bearer(headers) {
            None => Ok(false),
            Some(given) => self.opens(from, given).map(|()| true),
        }
    }

    fn opens(&self, from: IpAddr, given: &[u8]) -> Result<(), Refused> {
        if self.is_admin_token(given) { Ok(()) } else { Err(self.wrong(from)) }
    }

    fn is_admin_token(&self, given: &[u8]) -> bool {
        given.ct_eq(self.keys().admin_token.expose_secret().as_bytes()).into()
    }

    /// Who asks about rooms.
    ///
    /// # Errors
    /// The key is wrong, or there is none and the address asks too much.
    pub(super) fn caller(&self, from: IpAddr, headers: &HeaderMap) -> Result<Caller, Refused> {
        match bearer(headers) {
            None => self.keyless(from).map(|()| Caller::Anybody),
            Some(given) if self.is_admin_token(given) => Ok(Caller::Operator),
            Some(given) => match self.shown(from, given)? {
                Asker::BackEnd => Ok(Caller::BackEnd),
                Asker::User(_) | Asker::Stranger => Ok(Caller::Anybody),
            },
        }
    }

    /// The operator or a back end asks.
    ///
    /// # Errors
    /// Neither does.
    pub(super) fn trusted(&self, from: IpAddr, headers: &HeaderMap) -> Result<(), Refused> {
        match self.caller(from, headers)? {
            Caller::Anybody => Err(self.unknown()),
            Caller::Operator | Caller::BackEnd => Ok(()),
        }
    }

    /// Whether this is the admin token, sent by other means than HTTP.
    #[must_use]
    pub fn is_operator(&self, token: &[u8], from: IpAddr) -> bool {
        self.opens(from, token).is_ok()
    }

    /// The operator asks.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn admin_only(&self, from: IpAddr, headers: &HeaderMap) -> Result<(), Refused> {
        if self.admin(from, headers)? { Ok(()) } else { Err(self.unknown()) }
    }

    /// Who asks for credentials. `key`: an API key in another place than the header.
    ///
    /// # Errors
    /// Nobody who may.
    pub(super) fn asker(
        &self,
        from: IpAddr,
        headers: &HeaderMap,
        key: Option<&str>,
    ) -> Result<Asker, Refused> {
        let given = key.filter(|key| !key.is_empty()).map(str::as_bytes).or_else(|| bearer(headers));
        let keys = self.keys();
        let Some(given) = given else {
            let proven = self.tokens.in_cookie(headers).map(|token| self.proven(from, token));
            if !matches!(proven, Some(Ok(_) | Err(Refused::Hasty(_)))) {
                self.keyless(from)?;
            }
            return match proven {
                Some(Ok(user)) => Ok(Asker::User(user)),
                Some(Err(hasty @ Refused::Hasty(_))) => Err(hasty),
                // Browsers send old cookies along: whoever may come without one may come with one.
                _ if keys.open_ice => Ok(Asker::Stranger),
                Some(Err(refused)) => Err(self.count(refused)),
                None => Err(self.unknown()),
            };
        };
        match self.shown(from, given)? {
            Asker::Stranger if !keys.open_ice => Err(self.unknown()),
            asker => Ok(asker),
        }
    }

    /// Who shows this. A token of somebody else's is a stranger's where there is no key to verify any with.
    fn shown(&self, from: IpAddr, given: &[u8]) -> Result<Asker, Refused> {
        // Keys come first: they may look like anything. All are compared, whichever it is.
        let keys = self.keys();
        let found = keys.api_keys.iter().map(|key| given.ct_eq(key.expose_secret().as_bytes()));
        if found.fold(Choice::from(0), |any, this| any | this).into() {
            return Ok(Asker::BackEnd);
        }
        match std::str::from_utf8(given).ok().filter(|text| Tokens::looks_like_one(text)) {
            Some(token) if self.tokens.known() => match self.proven(from, token) {
                Ok(user) => Ok(Asker::User(user)),
                Err(hasty @ Refused::Hasty(_)) => Err(hasty),
                // A user's old token is no guess.
                Err(refused) => Err(self.count(refused)),
            },
            token => {
                self.keyless(from)?;
                token.map(|_| Asker::Stranger).ok_or_else(|| self.wrong(from))
            }
        }
    }

    fn user(&self, token: &str) -> Result<Identity, Refused> {
        self.tokens.verify(token).map_err(|refused| {
            tracing::debug!(%refused, "a user token was refused");
            if refused == auth::Refused::Expired { Refused::Expired } else { Refused::Unknown }
        })
    }

    /// Somebody behind the same address who guesses keeps nobody out whose key is right: only wrong ones come here. So this keeps a log
    /// and a load small, and guessers out of nothing: that is what the length of keys is for.
    fn wrong(&self, from: IpAddr) -> Refused {
        match self.guesses.count(from, now()) {
            Ok(_) => self.unknown(),
            Err(wait) => {
                self.refused.fetch_add(1, Relaxed);
                Refused::Throttled(wait)
            }
        }
    }

    fn unknown(&self) -> Refused {
        self.count(Refused::Unknown)
    }

    fn count(&self, refused: Refused) -> Refused {
        self.refused.fetch_add(1, Relaxed);
        refused
    }
}

/// The runtime's clock, which a test can hold.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// For what needs the operator or a back end.
pub(super) fn not_trusted(refused: Refused) -> Response {
    refused.answer(StatusCode::UNAUTHORIZED, "this needs the admin token or an API key")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const ADMIN: &str = "a-token-of-the-operator";

    fn access() -> Access {
        let keys = ["first-key", "second-key"].map(SecretString::from).to_vec();
        let keys = Keys { admin_token: ADMIN.into(), api_keys: keys, open_ice: false, mint: None };
        Access::new(
            keys,
            tokens("[auth]\nkey = \"a key of thirty-two characters..\"\ncookie = \"session\""),
            0,
        )
    }

    fn tokens(config: &str) -> Arc<Tokens> {
        let settings = crate::config::read(None, config, &Default::default()).unwrap();
        Arc::new(Tokens::new(auth::Keyring::read(&settings.auth).unwrap()))
    }

    fn bears(text: &str) -> HeaderMap {
        [(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap())].into_iter().collect()
    }

    fn token(secret: &SecretString, user: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let (role, expires) = (auth::Role::User, now + 600);
        let it =
            auth::Minted { user, name: None, role, rooms: None, issuer: None, audience: None, now, expires };
        auth::mint(secret, &it)
    }

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn only_the_whole_token_opens() {
        for good in ["Bearer a-token-of-the-operator", "bearer  a-token-of-the-operator"] {
            assert_eq!(access().admin(ip(1), &bears(good)), Ok(true), "{good}");
        }
        for wrong in ["Bearer ", "Bearer a-token", "Bearer first-key", "Bearer a-token-of-the-operators"] {
            assert_eq!(access().admin(ip(1), &bears(wrong)), Err(Refused::Unknown), "{wrong}");
        }
        for none in ["", "Bearer", "Basic a-token-of-the-operator"] {
            assert_eq!(access().admin(ip(1), &bears(none)), Ok(false), "{none}");
            assert_eq!(access().admin_only(ip(1), &bears(none)), Err(Refused::Unknown), "{none}");
        }
        assert_eq!(access().admin(ip(1), &HeaderMap::new()), Ok(false));
    }

    #[test]
    fn any_api_key_asks_in_the_header_or_beside_it() {
        let (access, nothing) = (access(), HeaderMap::new());
        for key in ["first-key", "second-key"] {
            assert_eq!(access.asker(ip(1), &bears(&format!("Bearer {key}")), None), Ok(Asker::BackEnd));
            assert_eq!(access.asker(ip(1), &nothing, Some(key)), Ok(Asker::BackEnd));
        }
        for wrong in ["third-key", "first-ke", "first-key ", ADMIN] {
            assert_eq!(access.asker(ip(1), &nothing, Some(wrong)), Err(Refused::Unknown), "{wrong}");
        }
        assert_eq!(access.asker(ip(2), &nothing, None), Err(Refused::Unknown));
        assert_eq!(access.asker(ip(2), &nothing, Some("")), Err(Refused::Unknown));
        assert_eq!(access.refused(), 6);
        let keys = ["first-key", "second-key"].map(SecretString::from).to_vec();
        access.change(Keys { admin_token: ADMIN.into(), api_keys: keys, open_ice: true, mint: None });
        let open = access;
        assert_eq!(open.asker(ip(2), &nothing, None), Ok(Asker::Stranger));
        // Who shows a key wants it to be right.
        assert_eq!(open.asker(ip(2), &nothing, Some("third-key")), Err(Refused::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_is_told_to_wait_and_nobody_with_a_right_key_is_kept_out() {
        let access = access();
        let guess = |n: usize| access.asker(ip(1), &HeaderMap::new(), Some(&format!("guess-{n}")));
        assert!((0..10).all(|n| guess(n) == Err(Refused::Unknown)));
        assert!(matches!(guess(10), Err(Refused::Throttled(_))));
        let right = |from| access.asker(from, &bears("Bearer first-key"), None);
        for from in [ip(1), ip(2)] {
            assert_eq!(right(from), Ok(Asker::BackEnd));
            assert_eq!(access.admin(from, &bears(&format!("Bearer {ADMIN}"))), Ok(true));
            assert!(access.is_operator(ADMIN.as_bytes(), from));
        }
        assert!(matches!(guess(11), Err(Refused::Throttled(_))), "a right key makes no guess good");
        // A key may look like a token; and where no token can be verified, one says nothing of its bearer.
        let odd = Keys {
            admin_token: ADMIN.into(),
            api_keys: vec!["eyJh.key.of-three-parts".into()],
            open_ice: false,
            mint: None,
        };
        let odd = Access::new(odd, Arc::new(Tokens::none()), 0);
        let shows = |text: &str| odd.caller(ip(1), &bears(&format!("Bearer {text}")));
        assert_eq!(shows("eyJh.key.of-three-parts"), Ok(Caller::BackEnd));
        assert!((0..50).all(|_| shows("ewogImFsZyI6.eyJzdWIi.AAAA") == Ok(Caller::Anybody)));
        assert_eq!(odd.trusted(ip(1), &bears("Bearer ewogImFsZyI6.eyJzdWIi.AAAA")), Err(Refused::Unknown));
        assert_eq!(
            odd.asker(ip(1), &bears("Bearer ewogImFsZyI6.eyJzdWIi.AAAA"), None),
            Err(Refused::Unknown)
        );
        assert_eq!(shows("no-key-at-all"), Err(Refused::Unknown));
        // A user's old token is no guess.
        let old = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxfQ.AAAA";
        assert!((0..50).all(|_| access.asker(ip(1), &HeaderMap::new(), Some(old)) == Err(Refused::Unknown)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_shows_no_key_asks_no_faster_than_the_rate_and_keys_are_not_counted() {
        let keys = Keys {
            admin_token: ADMIN.into(),
            api_keys: vec!["first-key".into()],
            open_ice: true,
            mint: None,
        };
        let access = Access::new(keys, tokens("[auth]\nkey = \"a key of thirty-two characters..\""), 2);
        let nothing = HeaderMap::new();
        let old = bears("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjoxfQ.AAAA");
        // Whatever is asked: so much without a token, and so much with one that does not hold.
        for _ in 0..10 {
            assert_eq!(access.caller(ip(1), &nothing), Ok(Caller::Anybody));
            assert_eq!(access.asker(ip(1), &nothing, None), Ok(Asker::Stranger));
            assert_eq!(access.caller(ip(1), &old), Err(Refused::Unknown));
            assert_eq!(access.asker(ip(1), &old, None), Err(Refused::Unknown));
        }
        assert!(matches!(access.caller(ip(1), &nothing), Err(Refused::Hasty(_))));
        assert!(matches!(access.caller(ip(1), &old), Err(Refused::Hasty(_))));
        assert!(matches!(access.asker(ip(1), &nothing, None), Err(Refused::Hasty(_))));
        assert!(matches!(access.trusted(ip(1), &nothing), Err(Refused::Hasty(_))));
        assert_eq!(access.hasty(), 4);
        for _ in 0..50 {
            assert_eq!(access.caller(ip(1), &bears("Bearer first-key")), Ok(Caller::BackEnd));
            assert_eq!(access.caller(ip(1), &bears(&format!("Bearer {ADMIN}"))), Ok(Caller::Operator));
        }
        assert_eq!(access.caller(ip(2), &nothing), Ok(Caller::Anybody));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_without_a_token_keeps_those_out_who_have_one_and_each_user_has_its_own_rate() {
        let secret: SecretString = "a key of thirty-two characters..".into();
        let keys = Keys { admin_token: ADMIN.into(), api_keys: Vec::new(), open_ice: true, mint: None };
        let config = "[auth]\nkey = \"a key of thirty-two characters..\"\ncookie = \"session\"";
        let access = Access::new(keys, tokens(config), 2);
        while access.caller(ip(1), &HeaderMap::new()).is_ok() {}
        let user = |name: &str| token(&secret, name);
        let bearer = |name: &str| bears(&format!("Bearer {}", user(name)));
        let cookie = |name: &str| -> HeaderMap {
            let cookie = HeaderValue::from_str(&format!("session={}", user(name))).unwrap();
            [(header::COOKIE, cookie)].into_iter().collect()
        };
        let asked = |headers: &HeaderMap| access.asker(ip(1), headers, None);
        let is = |asker, name: &str| matches!(asker, Ok(Asker::User(bearer)) if &*bearer.user == name);
        for n in 0..50 {
            let name = format!("user{n}");
            assert!(is(asked(&bearer(&name)), &name));
            assert!(is(asked(&cookie(&name)), &name));
            assert_eq!(access.caller(ip(1), &bearer(&name)), Ok(Caller::Anybody));
        }
        assert_eq!((0..50).filter(|_| asked(&bearer("ada")).is_ok()).count(), 20);
        assert!(matches!(access.asker(ip(2), &cookie("ada"), None), Err(Refused::Hasty(_))));
        assert!(asked(&bearer("bob")).is_ok());
    }
}
