//! `[auth]`: what user tokens are verified with, as written. Whether the keys can be used is for `crate::auth` to say, which reads them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::Auth;
use super::AuthKey;
use super::AuthMode;
use super::Settings;
use super::file::Written;
use super::file::Wrong;
use super::value;

/// An API key and the operator's token are as good as being everybody, and may be tried from anywhere.
pub(super) const SHORTEST_BEARER: usize = 16;

/// RFC 7518, section 3.2: the key of HS256 is as long as its hash.
const SHORTEST_KEY: usize = 32;

/// Keys are a few kilobytes; `/dev/zero` is none.
const LONGEST: u64 = 1 << 20;

pub(super) fn auth(w: &mut Written) -> Auth {
    let some_text = |text: &str| {
        if text.is_empty() { Err("empty; take it out".to_owned()) } else { Ok(text.to_owned()) }
    };
    let modes = &[("open", AuthMode::Open), ("jwt", AuthMode::Jwt)];
    Auth {
        mode: w.take("auth.mode", AuthMode::Open, value::parsed("\"jwt\"", value::choice(modes))),
        key: w.take("auth.key", None, value::parsed(value::A_SECRET, key)),
        jwks: w.take("auth.jwks", None, value::parsed("\"/path/to/jwks.json\"", jwks)),
        issuer: w.take("auth.issuer", Vec::new(), value::some("\"https://login.example.org\"", some_text)),
        audience: w.take("auth.audience", Vec::new(), value::some("\"callgate\"", some_text)),
        leeway: w.take(
            "auth.leeway",
            Duration::from_secs(30),
            value::duration(Duration::ZERO..=Duration::from_secs(600)),
        ),
        cookie: w.take("auth.cookie", None, value::parsed("\"session\"", cookie)),
        api_keys: w.take(
            "auth.api_keys",
            Vec::new(),
            value::list(value::A_SECRET, value::secret(SHORTEST_BEARER)),
        ),
        open_ice: w.take("auth.open_ice", false, value::truth),
    }
}

/// What no single key of `[auth]` can know.
pub(super) fn together(w: &mut Written, settings: &Settings) {
    let auth = &settings.auth;
    let keys = auth.key.is_some() || auth.jwks.is_some();
    let complained = ["auth.key", "auth.jwks"].iter().any(|key| w.has_mistake(key));
    if auth.mode == AuthMode::Jwt && !keys && !complained {
        w.wrong(
            "auth.mode",
            Wrong::from(
                "\"jwt\" needs something to verify tokens with; set auth.key (a secret, or a public key in PEM form) or auth.jwks"
                    .to_owned(),
            ),
        );
    }
    if auth.cookie.is_some() && !keys && !complained {
        w.wrong(
            "auth.cookie",
            Wrong::from("no token can be verified; set auth.key or auth.jwks, or take it out".to_owned()),
        );
    }
    // Whoever's page a browser shows could act as the cookie's owner.
    if auth.cookie.is_some() && settings.http.lets_any_page_in() {
        w.wrong(
            "auth.cookie",
            Wrong::from(
                "any page could act for your users, as http.origins lets all of them in; list the origins that may"
                    .to_owned(),
            ),
        );
    }
}

/// A secret, a public key in PEM form or the path of one. The text is in no complaint, unless it is a path.
fn key(text: &str) -> Result<Option<AuthKey>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with("-----BEGIN ") {
        // Variables often have no line ends of their own.
        return public(text.replace("\\n", "\n"), None).map(Some);
    }
    // A path that is taken for a secret would be one that anybody can guess: what looks like one has to be one.
    let path = ["/", "./", "../"].iter().any(|start| text.starts_with(start))
        || [".pem", ".pub", ".key"].iter().any(|end| text.ends_with(end));
    if path {
        let pem = content(Path::new(text)).map_err(|why| {
            format!(
                "{why}; a path is what this looks like. A secret must not begin with / or ./ or end in .pem: write it by `openssl rand -hex 32` if it is meant to be one"
            )
        })?;
        return public(pem, Some(PathBuf::from(text))).map(Some);
    }
    if text.len() < SHORTEST_KEY {
        return Err(format!(
            "too short for HS256; write at least {SHORTEST_KEY} random characters (openssl rand -hex 32)"
        ));
    }
    Ok(Some(AuthKey::Secret(text.into())))
}

fn public(pem: String, file: Option<PathBuf>) -> Result<AuthKey, String> {
    let what = file.as_ref().map_or_else(|| "this".to_owned(), |file| file.display().to_string());
    if pem.contains("PRIVATE KEY-----") {
        return Err(format!(
            "{what} is a private key, which only the issuer of the tokens should have; write the public one (openssl pkey -pubout)"
        ));
    }
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(format!(
            "{what} is a certificate; write the public key in it (openssl x509 -pubkey -noout)"
        ));
    }
    if !["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"].iter().any(|of| pem.contains(of)) {
        return Err(format!("{what} holds no public key in PEM form (-----BEGIN PUBLIC KEY-----)"));
    }
    Ok(AuthKey::Public { pem, file })
}

/// A file that can be read. What is in it may change later, so `crate::auth` reads it, whenever it does.
fn jwks(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(format!(
            "{text:?} is fetched by nobody; write the path of a file, and have a timer fetch it there (curl -o)"
        ));
    }
    content(Path::new(text))?;
    Ok(Some(PathBuf::from(text)))
}

fn content(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

/// RFC 6265, section 4.1.1: a token.
fn cookie(text: &str) -> Result<Option<String>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > 64 || !text.bytes().all(plain) {
        return Err(format!("{text:?} is no cookie's name; write one like \"session\""));
    }
    Ok(Some(text.to_owned()))
}
