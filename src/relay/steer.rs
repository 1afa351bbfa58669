//! Which shard takes a client's datagrams: the same one for all that come from one address.
//!
//! The kernel would choose by address and port. Then the limits for an address would hold in each shard by itself, and a
//! RESERVATION-TOKEN (RFC 8656, section 7.2) would be unknown where the client's next socket happens to end up.

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
