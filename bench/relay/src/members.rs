//! Members of rooms, two in each, who do nothing but be there: a node process with their signaling connections.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::turn::Credential;

pub struct Members(Child);

impl Members {
    /// Joins `count` members; their credentials, room by room.
    pub fn join(http: SocketAddr, count: usize) -> (Option<Members>, Vec<Credential>) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("members.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .args([format!("http://{http}"), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let credentials: Vec<Credential> = out
            .lines()
            .take(count)
            .map(|line| {
                let line = line.expect("a line");
                let (username, password) = line.split_once(' ').expect("a user name and a password");
                Credential { username: username.to_owned(), password: password.to_owned() }
            })
            .collect();
        assert_eq!(credentials.len(), count, "not all members got in");
        (Some(Members(child)), credentials)
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
