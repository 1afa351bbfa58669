//! An allocation's permissions (RFC 8656, section 9).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::family::Family;

/// How long one lasts.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// Leave to talk to an address, whatever the port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permission {
    pub(super) ip: IpAddr,
    /// The policy denies the address but for the relayed addresses of this daemon on it.
    pub(super) only_ours: bool,
    pub(super) expires: Instant,
}

/// Sorted by address; few, most of the time.
#[derive(Default, Debug)]
pub(super) struct Permissions(SmallVec<[Permission; 2]>);

impl Permissions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, ip: IpAddr) -> Option<&Permission> {
        let at = self.0.binary_search_by(|held| held.ip.cmp(&ip)).ok()?;
        self.0.get(at)
    }

    /// Installs or refreshes one.
    pub(super) fn install(&mut self, permission: Permission) {
        match self.0.binary_search_by(|held| held.ip.cmp(&permission.ip)) {
            Ok(at) => self.0[at] = permission,
            Err(at) => self.0.insert(at, permission),
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|held| held.expires > now);
    }

    /// Keeps those that `keep` says; it may change what they allow.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut Permission) -> bool) {
        self.0.retain(keep);
    }

    pub(super) fn remove_family(&mut self, family: Family) {
        self.0.retain(|held| Family::of(held.ip) != family);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|held| held.expires).min()
    }
}
