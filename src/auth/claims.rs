//! What a token says (RFC 7519, section 4.1), and what of it is believed.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::Deserializer;

use super::identity::Identity;
use super::identity::Role;
use super::refused::Refused;
use super::token;
use crate::label;

/// What the operator wants of tokens.
#[derive(Default)]
pub(super) struct Rules {
    /// One of these; empty: any or none.
    pub(super) issuer: Vec<String>,
    /// One of these; empty: any or none.
    pub(super) audience: Vec<String>,
    /// In seconds.
    pub(super) leeway: u64,
}

/// A claim of another type than here is an error, and so is one that is there twice: it may be one that limits.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aud: Option<OneOrMore<'a>>,
    #[serde(default, deserialize_with = "date")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "date")]
    nbf: Option<u64>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<OneOrMore<'a>>,
    #[serde(borrow)]
    roles: Option<OneOrMore<'a>>,
    /// `null` would be no limit at all: it is an error.
    #[serde(default, deserialize_with = "list")]
    rooms: Option<Vec<Box<str>>>,
}

/// One or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Several(Vec<String>),
}

impl OneOrMore<'_> {
    fn any(&self, mut is: impl FnMut(&str) -> bool) -> bool {
        match self {
            OneOrMore::One(one) => is(one),
            OneOrMore::Several(several) => several.iter().any(|one| is(one)),
        }
    }
}

/// Seconds since 1970, maybe with a fraction.
fn date<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Date {
        Whole(u64),
        Broken(f64),
    }
    match Date::deserialize(from)? {
        Date::Whole(seconds) => Ok(Some(seconds)),
        // Beyond 2^53 a fraction says nothing any more.
        Date::Broken(seconds) if (0.0..9.0e15).contains(&seconds) => Ok(Some(seconds as u64)),
        Date::Broken(_) => Err(serde::de::Error::custom("out of range")),
    }
}

fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Box<str>>>, D::Error> {
    Vec::deserialize(from).map(Some)
}

impl Rules {
    /// Who the bearer is, by the payload of a token whose signature is right. `now`: in seconds since 1970.
    pub(super) fn judge(&self, payload: &[u8], now: u64) -> Result<Identity, Refused> {
        let claims: Claims<'_> =
            token::object(payload).ok_or(Refused::Claims("not an object of the known types"))?;
        let one_of = |wanted: &[String], this: &str| wanted.iter().any(|one| one == this);
        if !self.issuer.is_empty() && !claims.iss.is_some_and(|iss| one_of(&self.issuer, &iss)) {
            return Err(Refused::Issuer);
        }
        if !self.audience.is_empty()
            && !claims.aud.is_some_and(|aud| aud.any(|this| one_of(&self.audience, this)))
        {
            return Err(Refused::Audience);
        }
        let user = claims.sub.ok_or(Refused::Claims("no sub"))?;
        if !label::is_visible(&user) {
            return Err(Refused::Claims("sub is not 1 to 128 visible ASCII characters"));
        }
        let exp = claims.exp.ok_or(Refused::Claims("no exp"))?;
        let expires = exp.saturating_add(self.leeway);
        if now >= expires {
            return Err(Refused::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now.saturating_add(self.leeway)) {
            return Err(Refused::NotYet);
        }
        let mut role = Role::User;
        for named in [claims.role, claims.roles].into_iter().flatten() {
            named.any(|name| {
                role = role.max(Role::named(name));
                false
            });
        }
        Ok(Identity {
            user: user.into(),
            name: claims.name.and_then(|name| label::shown(&name)).map(Arc::from),
            role,
            rooms: claims.rooms.map(Arc::from),
            expires,
        })
    }
}
