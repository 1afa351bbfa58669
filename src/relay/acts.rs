//! What a shard does at its server's word.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use nix::sys::epoll::EpollEvent;
use nix::sys::epoll::EpollFlags;

use crate::turn::AllocationId;
use crate::turn::Output;
use crate::turn::RelayFailure;

use super::shard::Shard;
use super::shard::collect;
use super::shard::lock;
use super::token::Token;

impl Shard {
    /// Does what the server asked for.
    pub(super) fn act(&mut self) {
        // Whatever is done below may make more of them: the loop gets there.
        if self.acting || self.outputs.is_empty() {
            return;
        }
        self.acting = true;
        let now = Instant::now();
        while let Some(output) = self.outputs.pop_front() {
            match output {
                Output::Send { to, message } => self.exits.answer(now, to, &message),
                Output::Connect { connection, local, peer, ours } => {
                    self.connect(now, connection, local, peer, ours);
                }
                Output::Splice { connection, client } => self.splice(now, connection, client),
                Output::ClosePeer { connection } => self.drop_peer(now, connection),
                Output::HangUp { client } => {
                    if let Some(leg) = client.transport.leg() {
                        self.hang_up(now, leg);
                    }
                }
                Output::Moved { client, port } => self.moved(now, client, port),
                Output::OpenRelay { at, local } | Output::Listen { at, local } => {
                    let result = match output {
                        Output::Listen { .. } => self.listen(at, local),
                        _ => self.open(at, local),
                    };
                    let mut server = lock(&self.servers[self.index]);
                    server.relay_opened(now, at, result, local);
                    collect(&mut server, &mut self.outputs);
                    self.deadline = server.poll_timeout();
                }
                Output::CloseRelay { at } => {
                    self.exits.sockets.close(at);
                    self.peers.close_listener(at);
                }
                Output::CloseFamily { at, local } => self.exits.sockets.close_family(at, local.is_ipv6()),
                // The seam for a kernel offload, which is not here.
                Output::ChannelBound { .. } | Output::ChannelUnbound { .. } => {}
            }
        }
        self.acting = false;
    }

    fn open(&mut self, at: AllocationId, local: SocketAddr) -> Result<SocketAddr, RelayFailure> {
        let v6 = local.is_ipv6();
        let socket = self.exits.sockets.open(at, local).map_err(|error| failure(&error))?;
        let bound = socket.local();
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, Token::Relay { at, v6 }.pack());
        if self.epoll.add(socket, event).is_err() {
            self.exits.sockets.close_family(at, v6);
            return Err(RelayFailure::Refused);
        }
        Ok(bound)
    }
}

pub(super) fn failure(error: &io::Error) -> RelayFailure {
    match error.kind() {
        io::ErrorKind::AddrInUse => RelayFailure::InUse,
        _ => RelayFailure::Refused,
    }
}
