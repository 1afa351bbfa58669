//! The relay sockets of a shard, by allocation.

use std::io;
use std::net::SocketAddr;

use crate::turn::AllocationId;

use super::udp::Socket;

/// One entry per slot of the server's table; as long as the most allocations there ever were at once.
#[derive(Default)]
pub(super) struct Sockets(Vec<Entry>);

#[derive(Default)]
struct Entry {
    generation: u32,
    v4: Option<Socket>,
    v6: Option<Socket>,
}

impl Sockets {
    /// The socket of an allocation for peers of a family.
    pub(super) fn get(&self, at: AllocationId, v6: bool) -> Option<&Socket> {
        let entry = self.0.get(at.slot as usize).filter(|entry| entry.generation == at.generation)?;
        if v6 { entry.v6.as_ref() } else { entry.v4.as_ref() }
    }

    /// Binds a socket to `local` and keeps it; whatever an earlier tenant of the slot left is closed.
    pub(super) fn open(&mut self, at: AllocationId, local: SocketAddr) -> io::Result<&Socket> {
        let socket = Socket::relay(local)?;
        let index = at.slot as usize;
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Entry::default);
        }
        let entry = &mut self.0[index];
        if entry.generation != at.generation {
            *entry = Entry { generation: at.generation, v4: None, v6: None };
        }
        let place = if local.is_ipv6() { &mut entry.v6 } else { &mut entry.v4 };
        Ok(place.insert(socket))
    }

    /// Closes an allocation's sockets; a later tenant's stay.
    pub(super) fn close(&mut self, at: AllocationId) {
        if let Some(entry) = self.0.get_mut(at.slot as usize).filter(|e| e.generation == at.generation) {
            (entry.v4, entry.v6) = (None, None);
        }
    }

    /// Closes one of them.
    pub(super) fn close_family(&mut self, at: AllocationId, v6: bool) {
        if let Some(entry) = self.0.get_mut(at.slot as usize).filter(|e| e.generation == at.generation) {
            *(if v6 { &mut entry.v6 } else { &mut entry.v4 }) = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_close_does_not_hurt_the_next_tenant() {
        let (old, new) = (AllocationId { slot: 3, generation: 1 }, AllocationId { slot: 3, generation: 2 });
        let mut sockets = Sockets::default();
        sockets.open(old, "127.0.0.1:0".parse().unwrap()).unwrap();
        sockets.open(new, "127.0.0.1:0".parse().unwrap()).unwrap();
        sockets.close(old);
        assert!(sockets.get(old, false).is_none());
        assert!(sockets.get(new, false).is_some());
        sockets.close(new);
        assert!(sockets.get(new, false).is_none());
    }
}
