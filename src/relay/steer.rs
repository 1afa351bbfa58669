//! Which shard takes a client's datagrams: the same one for all that come from one address.
//!
//! The kernel would choose by address and port. Then the limits for an address would hold in each shard by itself, and a
//! RESERVATION-TOKEN (RFC 8656, section 7.2) would be unknown where the client's next socket happens to end up.

use std::net::IpAddr;

use libc::{
    BPF_ABS, BPF_ALU, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X,
    BPF_XOR,
};
use libc::{SKF_NET_OFF, sock_filter};

/// Where the source address starts in the headers of IPv4 and IPv6.
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;

/// 2^32 over the golden ratio: neighbouring addresses end up far apart.
const GOLDEN: u32 = 0x9E37_79B1;

const BPF_A: u32 = 0x10;

/// The program, for sockets of one family. Of an IPv6 address the first half counts: the rest is one host's to choose.
pub(super) fn by_client(v6: bool, shards: u32) -> Vec<sock_filter> {
    let step = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = |offset: u32| step(BPF_LD | BPF_W | BPF_ABS, (SKF_NET_OFF as u32).wrapping_add(offset));
    let mut program = Vec::new();
    if v6 {
        program.push(load(SOURCE_V6));
        program.push(step(BPF_MISC | BPF_TAX, 0));
        program.push(load(SOURCE_V6 + 4));
        program.push(step(BPF_ALU | BPF_XOR | BPF_X, 0));
    } else {
        program.push(load(SOURCE_V4));
    }
    program.push(step(BPF_ALU | BPF_MUL | BPF_K, GOLDEN));
    program.push(step(BPF_ALU | BPF_RSH | BPF_K, 16));
    program.push(step(BPF_ALU | BPF_MOD | BPF_K, shards.max(1)));
    program.push(step(BPF_RET | BPF_A, 0));
    program
}

/// The shard that the program chooses for a client at `ip`, for what does not come as a datagram. `ip` is not IPv4-mapped.
pub(super) fn shard_of(ip: IpAddr, shards: usize) -> usize {
    let word = match ip {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => (ip.to_bits() >> 96) as u32 ^ (ip.to_bits() >> 64) as u32,
    };
    let shards = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
    ((word.wrapping_mul(GOLDEN) >> 16) % shards) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::udp::Inbox;
    use crate::relay::udp::Socket;
    use std::net::SocketAddr;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// Runs the program as the kernel would, on a packet whose network header starts with these bytes.
    fn run(program: &[sock_filter], header: &[u8]) -> u32 {
        let (mut a, mut x) = (0u32, 0u32);
        for step in program {
            let code = u32::from(step.code);
            if code == BPF_LD | BPF_W | BPF_ABS {
                let at = step.k.wrapping_sub(SKF_NET_OFF as u32) as usize;
                a = u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            } else if code == BPF_MISC | BPF_TAX {
                x = a;
            } else if code == BPF_ALU | BPF_XOR | BPF_X {
                a ^= x;
            } else if code == BPF_ALU | BPF_MUL | BPF_K {
                a = a.wrapping_mul(step.k);
            } else if code == BPF_ALU | BPF_RSH | BPF_K {
                a >>= step.k;
            } else if code == BPF_ALU | BPF_MOD | BPF_K {
                a %= step.k;
            } else {
                assert_eq!(code, BPF_RET | BPF_A);
                return a;
            }
        }
        panic!("no return");
    }

    #[test]
    fn connections_and_datagrams_of_an_address_go_to_one_shard() {
        for shards in 1..=9 {
            for seed in 0..500u128 {
                let bits = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) ^ seed << 77;
                let mut header = [0; 40];
                header[12..16].copy_from_slice(&(bits as u32).to_be_bytes());
                let v4 = IpAddr::V4((bits as u32).into());
                let program = by_client(false, shards);
                assert_eq!(shard_of(v4, shards as usize), run(&program, &header) as usize, "{v4}");
                header[8..24].copy_from_slice(&bits.to_be_bytes());
                let v6 = IpAddr::V6(bits.into());
                let program = by_client(true, shards);
                assert_eq!(shard_of(v6, shards as usize), run(&program, &header) as usize, "{v6}");
            }
        }
    }

    #[test]
    fn the_kernel_agrees() {
        const SHARDS: usize = 4;
        let first = Socket::listener("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let to = first.local();
        let mut all = vec![first];
        all.extend((1..SHARDS).map(|_| Socket::listener(to, false).unwrap()));
        all[0].steer(&by_client(false, SHARDS as u32)).unwrap();
        for host in 1..=40 {
            let from = UdpSocket::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            from.send_to(b"hello", to).unwrap();
            let got = || (0..SHARDS).find(|&shard| Inbox::new().receive(&all[shard]).is_ok());
            let got = (0..10_000).find_map(|_| {
                got().or_else(|| {
                    std::thread::sleep(Duration::from_millis(1));
                    None
                })
            });
            assert_eq!(got, Some(shard_of(from.local_addr().unwrap().ip(), SHARDS)));
        }
    }
}
