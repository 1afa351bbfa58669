//! Who has opened a transport: from where, and how often it was refused since.
//!
//! Over one transport a client may ask to be connected as often as it likes. Where its address counts that is bounded
//! (`Bank::shows`); behind a reverse proxy nobody has an address of its own, so the transport counts too.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::account::Account;
use super::connection::Transport;

/// How often a client is refused at once over one transport.
const AT_ONCE: u8 = 16;

/// How long it waits for each refusal after those. What it asks for meanwhile is not looked at.
const THEN: Duration = Duration::from_secs(1);

/// What the request that opens a transport brings along, as an extension of it, and the transport keeps.
#[derive(Debug)]
pub struct Visitor {
    address: SocketAddr,
    refused: AtomicU8,
    /// What its client may ask for, however often it connects over it.
    own: OnceLock<Arc<Account>>,
}

impl Clone for Visitor {
    fn clone(&self) -> Visitor {
        let refused = AtomicU8::new(self.refused.load(Relaxed));
        Visitor { address: self.address, refused, own: self.own.clone() }
    }
}

impl Visitor {
    /// One that comes from this address: behind a proxy that is trusted, the client's own.
    #[must_use]
    pub fn new(address: SocketAddr) -> Visitor {
        Visitor { address, refused: AtomicU8::new(0), own: OnceLock::new() }
    }

    /// Whoever has opened this one.
    pub(super) fn of(transport: &Transport) -> Option<&Visitor> {
        transport.req_parts().extensions.get()
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    /// The account of the transport.
    pub(super) fn own(&self) -> Arc<Account> {
        Arc::clone(self.own.get_or_init(Arc::default))
    }

    /// It is refused: how long it waits to hear of it. Who is let in the next time does not wait for that.
    pub(super) fn is_refused(&self) -> Duration {
        let count = |times: u8| (times < AT_ONCE).then_some(times + 1);
        self.refused.fetch_update(Relaxed, Relaxed, count).map_or(THEN, |_| Duration::ZERO)
    }
}
