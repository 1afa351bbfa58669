//! Starting, steering and stopping the shards.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;
use std::time::SystemTime;

use nix::sys::eventfd::EfdFlags;
use nix::sys::eventfd::EventFd;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

use crate::turn;

use super::connection::Connection;
use super::exits::Exits;
use super::listen;
use super::listen::StartError;
use super::mailbox::Mailbox;
use super::ports::Slices;
use super::shard::Control;
use super::shard::Shard;
use super::stats::Ending;
use super::stats::IoCounts;
use super::stats::Stats;
use super::steer;

/// Orders that may wait for a shard; whoever gives one more waits until there is room.
const ORDERS: usize = 1024;

/// What a relay is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// UDP addresses for clients. `[::]` means both families; port 0 any port, the same one on every such address.
    pub listen: Vec<SocketAddr>,
    /// How many threads; 0 counts as 1.
    pub shards: usize,
    /// For the servers. `ports` is set here, to each shard's slice of `all_ports`; the listening addresses are added to
    /// `own`, and are `discovery`.
    pub turn: turn::Config,
}

/// The running relay; dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    shards: Vec<Handle>,
    listening: Vec<SocketAddr>,
    scopes: turn::Scopes,
}

#[derive(Debug)]
struct Handle {
    server: Arc<Mutex<turn::Server>>,
    counts: Arc<IoCounts>,
    orders: mpsc::SyncSender<Control>,
    wake: Arc<EventFd>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Relay {
    /// Binds the listening addresses, then starts the shards.
    ///
    /// # Errors
    /// An address that is busy or not ours, too few ports, or a system out of threads or descriptors.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let count = settings.shards.max(1);
        let ports = &settings.turn.all_ports;
        let too_few = StartError::TooFewPorts { first: *ports.start(), last: *ports.end(), shards: count };
        let Some(slices) = Slices::cut(ports, count) else { return Err(too_few) };
        let sets = listen::open(&settings.listen, count)?;
        let listening: Vec<_> = sets.iter().take(1).flatten().map(super::udp::Socket::local).collect();

        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut servers = Vec::new();
        for slice in slices.iter() {
            let mut config = settings.turn.clone();
            config.ports = slice.clone();
            config.own.extend(&listening);
            config.discovery.clone_from(&listening);
            let mut seed = [0; 32];
            SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("no random bytes"))?;
            servers.push(Arc::new(Mutex::new(turn::Server::new(config, seed, now, wall))));
        }
        let servers: Arc<[_]> = servers.into();

        let wake = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map(Arc::new);
        let wakes = sets.iter().map(|_| wake()).collect::<Result<Vec<_>, _>>().map_err(io::Error::from)?;
        let mailboxes: Arc<[_]> = wakes.iter().map(|wake| Mailbox::new(Arc::clone(wake))).collect();
        let mut relay = Self { shards: Vec::new(), listening, scopes: settings.turn.scopes };
        for (index, (listeners, wake)) in sets.into_iter().zip(wakes).enumerate() {
            let counts = Arc::new(IoCounts::default());
            let (orders, inbox) = mpsc::sync_channel(ORDERS);
            let exits = Exits::new(index, listeners, Arc::clone(&mailboxes), Arc::clone(&counts));
            let shard =
                Shard::new(index, Arc::clone(&servers), slices.clone(), exits, Arc::clone(&wake), inbox)?;
            let thread = thread::Builder::new().name(format!("relay-{index}")).spawn(move || shard.run())?;
            relay.shards.push(Handle {
                server: Arc::clone(&servers[index]),
                counts,
                orders,
                wake,
                thread: Some(thread),
            });
        }
        Ok(relay)
    }

    /// The addresses listened on, with their true ports; a `[::]` that was asked for shows as both wildcards.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.listening.clone()
    }

    /// Serves TURN to a client over its connection from here on. Where too much waits already, it is closed and counted.
    pub fn adopt(&self, mut connection: Connection) {
        for address in [&mut connection.client, &mut connection.server] {
            *address = SocketAddr::new(address.ip().to_canonical(), address.port());
        }
        // Where the same client's datagrams go, too: limits for an address hold for both together.
        let shard = steer::shard_of(connection.client.ip(), self.shards.len());
        let Some(shard) = self.shards.get(shard) else { return };
        match shard.orders.try_send(Control::Adopt(Box::new(connection))) {
            Ok(()) => {
                let _ = shard.wake.write(1);
            }
            Err(_) => shard.counts.ended(Ending::Refused),
        }
    }

    /// Ends every allocation of the credential `id`, and every later one is up to the credential's expiry. Returns
    /// before it is done, usually; waits only behind a thousand other orders.
    pub fn revoke(&self, id: &str) {
        self.order(&|| Control::Revoke(id.to_owned()));
    }

    /// Lets these in from here on, and nobody else: allocations of a secret or user that is not among them end, all others
    /// live on. Returns before it is done, usually.
    pub fn set_keys(&self, keys: turn::Keys) {
        let keys = Arc::new(keys);
        self.order(&|| Control::SetKeys(Arc::clone(&keys)));
    }

    /// No new allocations from here on; those that live go on.
    pub fn drain(&self) {
        self.order(&|| Control::Drain);
    }

    /// Whether every shard still runs. One ends by itself only by a fault of this program.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shards.iter().all(|shard| shard.thread.as_ref().is_some_and(|thread| !thread.is_finished()))
    }

    /// The counters, summed over the shards.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            let server = shard.server.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(server.stats(), &shard.counts);
        }
        sum
    }

    /// Who is in which room: to be told before a member is, so that its first packet finds everything in place.
    #[must_use]
    pub fn scopes(&self) -> &turn::Scopes {
        &self.scopes
    }

    /// What each of these members ([`turn::credential::member_id`]) has relayed since it was seated, over all shards and with
    /// what has ended.
    #[must_use]
    pub fn usage(&self, members: &[&str]) -> Vec<turn::Usage> {
        let mut sums: Vec<_> = members.iter().map(|member| self.scopes.ended(member)).collect();
        for shard in &self.shards {
            let server = shard.server.lock().unwrap_or_else(PoisonError::into_inner);
            for (sum, member) in sums.iter_mut().zip(members) {
                *sum += server.usage(member);
            }
        }
        sums
    }

    /// Ends all shards and waits for their threads. Their sockets are closed then.
    pub fn stop(mut self) {
        self.end();
    }

    fn order(&self, make: &dyn Fn() -> Control) {
        for shard in &self.shards {
            if let Err(mpsc::TrySendError::Full(order)) = shard.orders.try_send(make()) {
                let _ = shard.wake.write(1);
                // An order is never lost: a full queue is emptied at the shard's next turn. An ended shard has no need of it.
                let _ = shard.orders.send(order);
            }
            let _ = shard.wake.write(1);
        }
    }

    fn end(&mut self) {
        self.order(&|| Control::Stop);
        for shard in &mut self.shards {
            if let Some(thread) = shard.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}
