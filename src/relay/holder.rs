//! Who has a UDP port, as far as /proc tells.

use std::fs;
use std::net::IpAddr;
use std::net::SocketAddr;

/// Name and process id of a process with a UDP socket at `address` (or at a wildcard of its port); `None`: not to be
/// found, or not for us to see.
pub(super) fn of_udp(address: SocketAddr) -> Option<String> {
    let inode = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .find_map(|table| inode(&table, address))?;
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target.to_str() == Some(&wanted));
        if holds {
            let command = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", command.trim()));
        }
    }
    None
}

/// The inode of the first socket in a table of /proc/net that `address` collides with.
fn inode(table: &str, address: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (ip, port) = fields.nth(1)?.split_once(':')?;
        if u16::from_str_radix(port, 16).ok()? != address.port() {
            return None;
        }
        let any = ip.bytes().all(|b| b == b'0');
        if !any && !address.ip().is_unspecified() && ip != hex(address.ip()) {
            return None;
        }
        fields.nth(7)?.parse().ok()
    })
}

/// An address as these tables write it: words of four bytes, each in this machine's byte order.
fn hex(ip: IpAddr) -> String {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let word =
        |w: &[u8]| format!("{:08X}", w.iter().rev().fold(0, |sum, &b| sum << 8 | u32::from(b)).to_le());
    bytes.chunks(4).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
        1: 0100007F:0D96 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0\n\
        2: 00000000:0D97 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0 0\n";

    #[test]
    fn a_line_of_the_table_is_found_by_address_or_wildcard() {
        assert_eq!(inode(TABLE, "127.0.0.1:3478".parse().unwrap()), Some(4711));
        assert_eq!(inode(TABLE, "0.0.0.0:3478".parse().unwrap()), Some(4711));
        assert_eq!(inode(TABLE, "127.0.0.1:3479".parse().unwrap()), Some(4712));
        assert_eq!(inode(TABLE, "127.0.0.2:3478".parse().unwrap()), None);
    }
}
