//! Who listens on a TCP port, as far as /proc lets us see. (The relay knows who has a UDP port.)

use std::fs;
use std::net::SocketAddr;

/// "nginx (process 812)", or nothing if it is not to be seen (another user's process, another namespace).
pub(super) fn holder(address: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<u64> = tables
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| inodes(&table, address.port()))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let holds = descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|to| to.to_str().is_some_and(|to| wanted.iter().any(|socket| socket == to)))
        });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The inodes of the listening sockets at a port, from a table of proc(5).
fn inodes(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (_, its_port) = fields.get(1)?.rsplit_once(':')?;
            let here = u16::from_str_radix(its_port, 16).ok()? == port;
            let listens = *fields.get(3)? == LISTEN;
            if here && listens { fields.get(9)?.parse().ok() } else { None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_socket_is_held_by_us() {
        let us = format!("(process {})", std::process::id());
        let tcp = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        assert!(holder(tcp.local_addr().unwrap()).unwrap().ends_with(&us));
    }

    #[test]
    fn a_free_port_and_a_strange_table_have_no_holder() {
        assert_eq!(inodes("head\n   0: 00000000:0BB8 00000000:0000 0A 0 0 0 0 0 77\n", 3000), [77]);
        assert!(inodes("head\n   0: 00000000:0BB8 00000000:0000 01 0 0 0 0 0 77\n", 3000).is_empty());
        assert!(inodes("head\ngarbage\n\n : : :", 3000).is_empty());
    }
}
