//! A fresh token takes the place of the old one, under an open connection.

use super::super::decode::Arguments;
use super::super::error::Code;
use super::super::error::Failure;
use super::super::identity::Identity;
use super::Asked;

impl Asked<'_> {
    /// It has to be the same user's, and must not say less: what is less begins with a connection of its own, in which nothing
    /// is left of what was more.
    pub(super) fn refresh_auth(&self, it: &Arguments<'_>) -> Result<(), Failure> {
        let token = it.token.as_deref().or(it.room.as_deref());
        let token = token.ok_or_else(|| Failure::bad("token is missing"))?;
        let old = self.connection.identity().filter(|identity| identity.proven);
        let old = old.ok_or_else(|| {
            Failure::new(Code::Unauthorized, "this connection began without a token: connect with one")
        })?;
        let fresh = self.hub.tokens.verify(token).map_err(|refused| {
            tracing::debug!(%refused, "a fresh token was refused");
            Failure::from(refused)
        })?;
        let fresh = Identity::proven(fresh, Some(Identity::clone(&old)), self.now);
        if fresh.user != old.user {
            return Err(Failure::new(Code::Forbidden, "that is another user's token"));
        }
        let sits = self.connection.seats().iter().all(|seat| fresh.allows(seat.room.as_str()));
        if !fresh.reaches(&old) || !sits {
            return Err(Failure::new(Code::Forbidden, "that token says less: connect anew with it"));
        }
        if let Some(at) = fresh.expires {
            self.hub.expiries.set(self.connection, old.expires, at);
            self.hub.alarm.set(at);
        }
        self.connection.identify(fresh);
        self.done();
        Ok(())
    }
}
