//! A daemon of one's own: the real binary, on free ports, with its own state folder, gone with the test.

mod guest;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use guest::Guest;

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Loopback ports that are free, and loopback as public address.
pub(crate) const LOOPBACK: &str = r#"
[public]
addresses = ["127.0.0.1"]
[http]
listen = ["127.0.0.1:0"]
[turn]
listen = ["127.0.0.1:0"]
workers = 2
[log]
filter = "info,callgate=debug"
"#;

/// Above the ports that the kernel gives to sockets bound to port 0: a peer on loopback must not look like a relay.
const RELAY_PORTS: &str = "61000-65535";

/// A running daemon.
pub(crate) struct Callgate {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// The configuration file and the state are in here.
    pub(crate) folder: TempDir,
    /// As bound.
    pub(crate) http: Vec<SocketAddr>,
    /// As bound.
    pub(crate) tls: Vec<SocketAddr>,
    /// As bound.
    pub(crate) turn: Vec<SocketAddr>,
}

/// A finished run.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary with a configuration file and a state folder in `folder`, and nothing of the tester's environment.
pub(crate) fn command(folder: &TempDir, config: &str) -> Command {
    let file = folder.path().join("callgate.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = bare(folder);
    command.arg("--config").arg(file);
    command
}

/// The binary without a configuration file.
pub(crate) fn bare(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    command.env_clear().env("STATE_DIRECTORY", folder.path().join("state"));
    command
}

/// Runs a command that ends by itself.
pub(crate) fn finish(command: &mut Command) -> Finished {
    let out = command.stdin(Stdio::null()).output().unwrap();
    Finished {
        code: out.status.code(),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

impl Callgate {
    /// Starts a daemon with this configuration over `LOOPBACK`'s: give a section again, with all its keys, to change it.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// Starts a daemon with this configuration and these environment variables.
    pub(crate) fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(&folder, &merged(config));
        if !config.contains("relay_ports") {
            command.env("CALLGATE_TURN__RELAY_PORTS", RELAY_PORTS);
        }
        command.envs(environment.iter().copied());
        Self::spawn(command, folder)
    }

    /// Starts what `command` says, and waits until it is ready.
    pub(crate) fn spawn(mut command: Command, folder: TempDir) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                into.lock().unwrap().push(line);
            }
        });
        let mut daemon = Self { child, lines, folder, http: vec![], tls: vec![], turn: vec![] };
        let ready = daemon.wait_for_log("ready");
        let addresses = |key: &str| {
            let text = ready[key].as_str().unwrap_or_default();
            text.split(',').filter(|one| !one.is_empty()).map(|one| one.parse().unwrap()).collect()
        };
        daemon.http = addresses("http");
        daemon.tls = addresses("tls");
        daemon.turn = addresses("turn");
        daemon
    }

    /// The first log line with this message.
    pub(crate) fn wait_for_log(&mut self, message: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.log().into_iter().find(|line| line["message"] == message);
            if let Some(found) = found {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < until,
                "no {message:?} in the log (ended: {ended:?}): {:#?}",
                self.lines.lock().unwrap()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Every log line so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines = self.lines.lock().unwrap();
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or(Value::String(line.clone()))).collect()
    }

    /// The address of the first plain port, reachable from here.
    pub(crate) fn http(&self) -> SocketAddr {
        reachable(self.http[0])
    }

    /// The URL of a path on the first plain port.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// All figures: `callgate_peers` or `callgate_rooms{kind="call"}` to their values.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let text = reqwest::get(self.url("/metrics")).await.unwrap().text().await.unwrap();
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// Waits until the figure has this value.
    pub(crate) async fn wait_for_metric(&self, name: &str, value: f64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.metrics().await.get(name).copied();
            if found == Some(value) {
                return;
            }
            assert!(Instant::now() < until, "{name} is {found:?}, not {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A file of the state folder.
    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, by its name: `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the daemon does not end: {:#?}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Callgate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.lines.lock().unwrap().join("\n"));
        }
    }
}

/// `LOOPBACK` with the sections of `config` in place of its own.
fn merged(config: &str) -> String {
    let head = |line: &str| line.trim_start().starts_with('[').then(|| line.trim().to_owned());
    let given: Vec<String> = config.lines().filter_map(head).collect();
    let mut keep = true;
    let mut text = String::new();
    for line in LOOPBACK.lines() {
        if let Some(section) = head(line) {
            keep = !given.contains(&section);
        }
        if keep {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + config
}

fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    }
    address
}

/// Everything a peer sends until it closes, or an error if that takes longer than `limit`.
pub(crate) fn read_to_end(stream: &mut std::net::TcpStream, limit: Duration) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(limit))?;
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        // A server may reset what it will not read to the end.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(all),
        Err(error) => Err(error),
        Ok(_) => Ok(all),
    }
}
