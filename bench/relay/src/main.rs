//! Runs coturn and callgate alternately on loopback under the same load, and prints what each spent.

mod link;
mod load;
mod members;
mod process;
mod turn;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use link::{Leg, Link};
use load::{End, Flow, PAYLOAD, Plan, Receiver, Tally};
use members::Members;
use process::Process;
use turn::{Client, Credential};

const SECRET: &str = "a-secret-for-the-bench";
const DATA: u16 = 0x4000;
const ACROSS: u16 = 0x4001;

struct Options {
    callgate: PathBuf,
    /// Another build of callgate in coturn's place.
    against: Option<PathBuf>,
    rounds: usize,
    seconds: f64,
    allocations: usize,
    per_second: u64,
    only: String,
    leg: Leg,
    /// callgate's clients are members of rooms, two in each.
    rooms: bool,
    receivers_gro: bool,
    batch: usize,
    server_core: usize,
    own_core: usize,
    shards: usize,
}

fn options() -> Options {
    let mut o = Options {
        callgate: "../../target/release/callgate".into(),
        against: None,
        rounds: 5,
        seconds: 3.0,
        allocations: 100,
        per_second: 40_000,
        only: String::new(),
        leg: Leg::Udp,
        rooms: false,
        receivers_gro: true,
        batch: 2000,
        server_core: 0,
        own_core: 1,
        shards: 1,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
        match arg.as_str() {
            "--callgate" => o.callgate = value().into(),
            "--against" => o.against = Some(value().into()),
            "--rounds" => o.rounds = value().parse().unwrap(),
            "--seconds" => o.seconds = value().parse().unwrap(),
            "--allocations" => o.allocations = value().parse().unwrap(),
            "--rate" => o.per_second = value().parse().unwrap(),
            "--only" => o.only = value(),
            "--leg" => {
                o.leg = match value().as_str() {
                    "udp" => Leg::Udp,
                    "tcp" => Leg::Tcp,
                    "tls" => Leg::Tls,
                    other => panic!("--leg is udp, tcp or tls, not {other}"),
                }
            }
            "--rooms" => o.rooms = true,
            "--receivers" => o.receivers_gro = value() == "gro",
            "--batch" => o.batch = value().parse().unwrap(),
            "--shards" => o.shards = value().parse().unwrap(),
            _ => panic!("unknown option {arg}; see bench/README.md"),
        }
    }
    o
}

/// One of the servers compared.
struct Subject {
    name: &'static str,
    address: SocketAddr,
    process: Process,
    clients: Vec<Client>,
    peers: Vec<UdpSocket>,
    http: SocketAddr,
    /// Keeps the rooms of its clients.
    members: Option<Members>,
}

fn start(name: &'static str, o: &Options, directory: &Path, round: usize) -> Subject {
    let log = directory.join(format!("{name}-{round}.log"));
    let (port, low, high) = if name == "coturn" { (19780, 20000, 26999) } else { (19790, 27000, 32767) };
    let command = match (name, &o.against) {
        ("coturn", None) => coturn(o, directory, port, low, high),
        // What rooms and limits cost is seen against a build without either.
        ("coturn", Some(other)) => callgate(other, o, !o.rooms, directory, port, low, high),
        _ => callgate(&o.callgate, o, true, directory, port, low, high),
    };
    let process = Process::start(command, o.server_core, log.to_str().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], if o.leg == Leg::Tls { port + 2 } else { port }));
    let credential = Credential::mint(SECRET);
    for attempt in 0.. {
        std::thread::sleep(Duration::from_millis(200));
        match Client::allocate(o.leg, address, &credential) {
            Ok(mut client) => {
                client.release().unwrap();
                break;
            }
            Err(e) if attempt > 20 => panic!("{name} does not come up: {e}; see {}", log.display()),
            Err(_) => {}
        }
    }
    Subject { name, address, process, clients: Vec::new(), peers: Vec::new(), http: SocketAddr::from(([127, 0, 0, 1], port + 1)), members: None }
}

/// A certificate for the run.
fn certificate(directory: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("certificate.pem"))
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn coturn(o: &Options, directory: &Path, port: u16, low: u16, high: u16) -> Command {
    let file = directory.join("turnserver.conf");
    let legs = match o.leg {
        Leg::Udp => "no-tcp\nno-tls\nno-dtls\n".to_owned(),
        Leg::Tcp => "no-udp\nno-tls\nno-dtls\n".to_owned(),
        Leg::Tls => format!(
            "no-udp\nno-dtls\ntls-listening-port={}\ncert={1}/certificate.pem\npkey={1}/key.pem\n",
            port + 2,
            directory.display()
        ),
    };
    let text = format!(
        "listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\nlistening-port={port}\nmin-port={low}\nmax-port={high}\n\
         realm=bench\nuse-auth-secret\nstatic-auth-secret={SECRET}\n{legs}no-tcp-relay\nno-cli\n\
         allow-loopback-peers\nno-rfc5780\nno-stun-backward-compatibility\nrelay-threads=1\n\
         userdb={0}/turndb\npidfile={0}/turnserver.pid\nlog-file=stdout\nsimple-log\n",
        directory.display()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("turnserver");
    command.arg("-c").arg(file);
    command
}

fn callgate(
    program: &Path,
    o: &Options,
    limited: bool,
    directory: &Path,
    port: u16,
    low: u16,
    high: u16,
) -> Command {
    let rates = if limited {
        ""
    } else {
        "bytes_per_second = 0\nroom_bytes_per_second = 0\ntotal_bytes_per_second = 0\n"
    };
    let file = directory.join(format!("callgate-{port}.toml"));
    let tls = match o.leg {
        Leg::Tls => format!(
            "[tls]\nlisten = [\"127.0.0.1:{}\"]\ncertificate = \"{1}/certificate.pem\"\nkey = \"{1}/key.pem\"\n",
            port + 2,
            directory.display()
        ),
        _ => String::new(),
    };
    let text = format!(
        "[public]\naddresses = [\"127.0.0.1\"]\n[http]\nlisten = [\"127.0.0.1:{}\"]\n{tls}\
         [turn]\nlisten = [\"127.0.0.1:{port}\"]\nrealm = \"bench\"\nsecrets = [\"{SECRET}\"]\nrelay_ports = \"{low}-{high}\"\n\
         workers = {}\n[turn.peers]\nallow = [\"127.0.0.0/8\"]\n\
         [turn.limits]\nallocations = 0\nallocations_per_user = 0\nallocations_per_ip = 0\nunauthenticated_per_second = 0\n{rates}",
        port + 1,
        o.shards,
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("--config").arg(file).env("STATE_DIRECTORY", directory);
    command
}

impl Subject {
    fn populate(&mut self, o: &Options) {
        let mut credentials = vec![Credential::mint(SECRET); o.allocations];
        if o.rooms && self.name == "callgate" {
            (self.members, credentials) = Members::join(self.http, o.allocations);
        }
        for credential in credentials {
            let client = Client::allocate(o.leg, self.address, &credential)
                .unwrap_or_else(|e| panic!("{}: {e}", self.name));
            if let Link::Udp(socket) = &client.link {
                load::set_buffers(socket);
                load::set_gro(socket, o.receivers_gro);
            }
            let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
            load::set_buffers(&peer);
            load::set_gro(&peer, o.receivers_gro);
            self.clients.push(client);
            self.peers.push(peer);
        }
    }

    /// Permissions last five minutes, so this runs before every measurement.
    fn bind(&mut self) {
        let relayed: Vec<_> = self.clients.iter().map(|c| c.relayed).collect();
        for (i, client) in self.clients.iter_mut().enumerate() {
            client
                .bind(DATA, self.peers[i].local_addr().unwrap())
                .unwrap_or_else(|e| panic!("{}: {e}", self.name));
            if let Some(partner) = relayed.get(i ^ 1) {
                client.bind(ACROSS, *partner).unwrap_or_else(|e| panic!("{}: {e}", self.name));
            }
        }
    }

    fn plan(&self, case: Case, train: usize, o: &Options) -> Plan<'_> {
        let payload = vec![0x5A; PAYLOAD];
        let flows = self.clients.iter().zip(&self.peers);
        let flows = flows.map(|(client, peer)| match case {
            Case::ToPeer => {
                Flow { from: End::Client(&client.link), to: None, packet: turn::channel_data(DATA, &payload) }
            }
            Case::ToClient => Flow { from: End::Peer(peer), to: Some(client.relayed), packet: payload.clone() },
            Case::Across => {
                Flow { from: End::Client(&client.link), to: None, packet: turn::channel_data(ACROSS, &payload) }
            }
        });
        let sinks = match case {
            Case::ToPeer => self.peers.iter().map(|s| (End::Peer(s), PAYLOAD)).collect(),
            _ => self.clients.iter().map(|c| (End::Client(&c.link), PAYLOAD + 4)).collect(),
        };
        Plan {
            flows: flows.collect(),
            sinks,
            train,
            per_second: o.per_second,
            time: Duration::from_secs_f64(o.seconds),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Case {
    ToPeer,
    ToClient,
    Across,
}

const CASES: [(Case, &str); 3] = [
    (Case::ToPeer, "client → peer"),
    (Case::ToClient, "peer → client"),
    (Case::Across, "client → relay → relay → client"),
];

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn packets(o: &Options, directory: &Path, names: &[&'static str]) {
    let mut subjects: Vec<Subject> = names.iter().map(|name| start(name, o, directory, 0)).collect();
    for subject in &mut subjects {
        subject.populate(o);
    }
    process::pin(o.own_core);
    let mut receiver = Receiver::new();
    println!(
        "\n{} allocations over {}{}, {PAYLOAD}-byte payloads, {} packets/s, {} rounds of {} s, receivers {}",
        o.allocations,
        match o.leg {
            Leg::Udp => "UDP",
            Leg::Tcp => "TCP",
            Leg::Tls => "TLS",
        },
        if o.rooms { " (callgate's are of rooms of two)" } else { "" },
        o.per_second,
        o.rounds,
        o.seconds,
        if o.receivers_gro { "take trains (UDP_GRO)" } else { "take single datagrams" }
    );
    println!(
        "{:<34}{:>7}{:>12}{:>12}{:>8}{:>8}  delivered %",
        "CPU µs a delivered packet",
        "train",
        names[0],
        names.get(1).unwrap_or(&""),
        "ratio",
        "spread"
    );
    for (case, title) in CASES {
        for train in [1, 8] {
            let label = format!("{title} {train}");
            if !o.only.is_empty() && !label.contains(&o.only) {
                continue;
            }
            let mut costs = vec![Vec::new(); subjects.len()];
            let mut tallies = vec![Tally::default(); subjects.len()];
            for _ in 0..o.rounds {
                for (i, subject) in subjects.iter_mut().enumerate() {
                    subject.bind();
                    let plan = subject.plan(case, train, o);
                    let (tally, spent) = plan.run(&mut receiver, || subject.process.cpu());
                    costs[i].push(spent as f64 / 1000.0 / tally.delivered.max(1) as f64);
                    tallies[i].sent += tally.sent;
                    tallies[i].delivered += tally.delivered;
                    tallies[i].wrong += tally.wrong;
                }
            }
            let mut ratios: Vec<f64> = match costs.as_slice() {
                [first, second] => first.iter().zip(second).map(|(a, b)| b / a).collect(),
                _ => Vec::new(),
            };
            let ratio = median(&mut ratios);
            let spread = match (ratios.first(), ratios.last()) {
                (Some(low), Some(high)) => format!("{low:.2}-{high:.2}"),
                _ => String::new(),
            };
            let shares: Vec<String> = tallies
                .iter()
                .map(|t| {
                    let wrong = if t.wrong > 0 { format!(" ({} wrong)", t.wrong) } else { String::new() };
                    format!("{:.2}{wrong}", t.delivered as f64 * 100.0 / t.sent.max(1) as f64)
                })
                .collect();
            let mut columns = costs.iter_mut().map(|c| median(c)).collect::<Vec<_>>();
            columns.resize(2, f64::NAN);
            println!(
                "{title:<34}{train:>7}{:>12.2}{:>12.2}{ratio:>8.2}{spread:>10}  {}",
                columns[0],
                columns[1],
                shares.join(" / ")
            );
        }
    }
}

fn allocations(o: &Options, directory: &Path, names: &[&'static str]) {
    let credential = Credential::mint(SECRET);
    let mut cpu = vec![Vec::new(); names.len()];
    let mut memory = vec![Vec::new(); names.len()];
    for round in 1..=o.rounds.min(3) {
        for (i, name) in names.iter().enumerate() {
            let subject = start(name, o, directory, round);
            process::pin(o.own_core);
            let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
            let mut clients = Vec::new();
            let add = |n: usize, clients: &mut Vec<Client>| {
                for _ in 0..n {
                    let mut client = Client::allocate(o.leg, subject.address, &credential)
                        .unwrap_or_else(|e| panic!("{name}: {e}"));
                    client.bind(DATA, peer).unwrap_or_else(|e| panic!("{name}: {e}"));
                    clients.push(client);
                }
            };
            // The first hundred pay for what a fresh process sets up once.
            add(100, &mut clients);
            let (cpu_before, rss_before) = (subject.process.cpu(), subject.process.resident());
            add(o.batch, &mut clients);
            cpu[i].push((subject.process.cpu() - cpu_before) as f64 / 1000.0 / o.batch as f64);
            memory[i].push((subject.process.resident() as f64 - rss_before as f64) / 1024.0 / o.batch as f64);
        }
    }
    println!("\nallocations, {} at a time (401, Allocate, ChannelBind)", o.batch);
    let row = |title: &str, values: &mut [Vec<f64>]| {
        let mut ratios: Vec<f64> = match &*values {
            [first, second] => first.iter().zip(second).map(|(a, b)| b / a).collect(),
            _ => Vec::new(),
        };
        let mut columns: Vec<f64> = values.iter_mut().map(|v| median(v)).collect();
        columns.resize(2, f64::NAN);
        println!("{title:<41}{:>12.2}{:>12.2}{:>8.2}", columns[0], columns[1], median(&mut ratios));
    };
    row("CPU µs an allocation", &mut cpu);
    row("resident KB an allocation", &mut memory);
}

fn main() {
    let o = options();
    process::favour();
    let directory = std::env::temp_dir().join(format!("callgate-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    if o.leg == Leg::Tls {
        certificate(&directory);
    }
    let names: &[&'static str] = if o.callgate.exists() {
        &["coturn", "callgate"]
    } else {
        eprintln!("no {}: coturn alone", o.callgate.display());
        &["coturn"]
    };
    if o.only != "allocations" {
        packets(&o, &directory, names);
    }
    if o.only.is_empty() || o.only == "allocations" {
        allocations(&o, &directory, names);
    }
    let _ = fs::remove_dir_all(&directory);
}
