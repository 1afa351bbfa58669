//! Why a token opens nothing: in a word for its bearer, in more for the log at DEBUG. Never holds anything of the token itself.

use std::fmt;

/// Why a token is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Longer than any token here.
    TooLong,
    /// Not a signed JWT.
    Malformed,
    /// The header asks for what is not known here (`crit`).
    Critical,
    /// No key verifies by the algorithm it names, or has the `kid` it names.
    NoKey,
    /// The signature is not one of the keys'.
    Signature,
    /// What it says cannot be understood; this part of it.
    Claims(&'static str),
    /// It is by another issuer.
    Issuer,
    /// It is for another audience.
    Audience,
    /// It is for later.
    NotYet,
    /// It was good.
    Expired,
}

impl Refused {
    /// What clients are told. Only who once had a good token hears more than that this one is not.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Refused::Expired => "token-expired",
            _ => "unauthorized",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::TooLong => "the token is too long",
            Refused::Malformed => "this is not a signed JWT",
            Refused::Critical => "its header has crit, and nothing critical is known here",
            Refused::NoKey => "there is no key for its alg and kid",
            Refused::Signature => "the signature is wrong",
            Refused::Claims(what) => return write!(f, "its claims cannot be understood: {what}"),
            Refused::Issuer => "it is by another issuer",
            Refused::Audience => "it is for another audience",
            Refused::NotYet => "it is not valid yet",
            Refused::Expired => "it has expired",
        })
    }
}
