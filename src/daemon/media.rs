//! The relay's settings out of the daemon's.

use std::net::SocketAddr;
use std::thread::available_parallelism;

use anyhow::Context;
use anyhow::anyhow;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use secrecy::SecretString;

use crate::config;
use crate::config::Settings;
use crate::relay;
use crate::relay::Relay;
use crate::turn;

use super::public::Found;

/// Starts the relay. `secret` is the generated one, for when none is configured; `own` is never a peer.
pub(super) fn start(
    settings: &Settings,
    secret: &SecretString,
    found: &Found,
    own: Vec<SocketAddr>,
) -> anyhow::Result<Relay> {
    let turn = &settings.turn;
    let mut nonce_key = [0; 32];
    SystemRandom::new().fill(&mut nonce_key).map_err(|_| anyhow!("the system gives no random numbers"))?;
    let limits = &turn.limits;
    let config = turn::Config {
        realm: turn.realm.clone(),
        software: concat!("callgate ", env!("CARGO_PKG_VERSION")).to_owned(),
        keys: keys(settings, secret),
        nonce_key,
        relays: found
            .addresses
            .iter()
            .map(|address| turn::RelayAddress { local: address.local, public: address.public })
            .collect(),
        ports: turn.relay_ports.clone(),
        all_ports: turn.relay_ports.clone(),
        census: turn::Census::default(),
        own,
        discovery: Vec::new(),
        alternate: turn.alternate.clone(),
        peers: turn::PeerPolicy { allow: blocks(&turn.peers.allow), deny: blocks(&turn.peers.deny) },
        limits: turn::Limits {
            allocations: limits.allocations,
            allocations_per_user: limits.allocations_per_user,
            allocations_per_ip: limits.allocations_per_ip,
            permissions: limits.permissions,
            channels: limits.channels,
            lifetime: limits.lifetime,
            unauthenticated_per_second: limits.unauthenticated_per_second,
            bytes_per_second: limits.bytes_per_second,
            room_bytes_per_second: limits.room_bytes_per_second,
            total_bytes_per_second: limits.total_bytes_per_second,
        },
        tcp_relays: turn.tcp_relays,
        mobility: turn.mobility,
        room_scope: turn.relay_scope == config::RelayScope::Room,
        scopes: turn::Scopes::default(),
    };
    let shards = match turn.workers {
        0 => available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    Relay::start(relay::Settings { listen: turn.listen.clone(), shards, turn: config })
        .context("the relay cannot start")
}

/// Who is let in. `secret` is the generated one, for when none is configured.
pub(super) fn keys(settings: &Settings, secret: &SecretString) -> turn::Keys {
    let turn = &settings.turn;
    let secrets = if turn.secrets.is_empty() { vec![secret.clone()] } else { turn.secrets.clone() };
    let users = turn.users.iter().map(|user| (user.name.clone(), user.password.clone())).collect();
    turn::Keys { secrets, users }
}

fn blocks(blocks: &[config::Cidr]) -> Vec<turn::Cidr> {
    // The configuration knows no prefix longer than its address.
    blocks.iter().filter_map(|block| turn::Cidr::new(block.address, block.prefix)).collect()
}
