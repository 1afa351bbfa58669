//! The life of the daemon: how it starts, what it says, how it ends.

use std::net::TcpListener;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use std::time::Instant;

use crate::support::Callgate;
use crate::support::PATIENCE;
use crate::support::bare;
use crate::support::command;
use crate::support::finish;

/// Before it would be cut off.
const SOON: Duration = Duration::from_secs(7);

#[test]
fn the_embedded_defaults_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bare(&folder);
    // The default ports may be somebody's on this machine.
    command.envs([("PORT", "0"), ("CALLGATE_TURN__LISTEN", "[::]:0")]);
    let daemon = Callgate::spawn(command, folder);
    TcpStream::connect(daemon.http()).unwrap();
    assert!(daemon.http[0].ip().is_unspecified(), "not on all addresses: {:?}", daemon.http);
    let mode = std::fs::metadata(daemon.state("turn-secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "others can read the secret: {mode:o}");
}

#[test]
fn the_block_says_what_a_newcomer_needs() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[public]\naddresses = [\"127.0.0.1\"]\n[http]\nlisten = [\"127.0.0.1:0\"]\n[turn]\nlisten = [\"127.0.0.1:0\"]\n";
    let out = folder.path().join("stdout");
    let file = std::fs::File::create(&out).unwrap();
    let mut child =
        command(&folder, config).stdout(file).stderr(std::process::Stdio::null()).spawn().unwrap();
    let all =
        ["http://127.0.0.1:", "turn:127.0.0.1:", "127.0.0.1: configured", "callgate.toml", "turn-secret"];
    let until = Instant::now() + PATIENCE;
    let text = loop {
        let text = std::fs::read_to_string(&out).unwrap();
        if all.iter().all(|wanted| text.contains(wanted)) || Instant::now() > until {
            break text;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    for wanted in all {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[test]
fn a_busy_port_names_the_port_and_who_holds_it() {
    let us = format!("(process {})", std::process::id());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp, udp) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    for (config, port) in [
        (format!("http.listen = [\"{tcp}\"]\nturn.listen = [\"127.0.0.1:0\"]\n"), tcp.port()),
        (
            format!(
                "http.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"{udp}\"]\nturn.relay_ports = \"61000-65535\"\n"
            ),
            udp.port(),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = finish(&mut command(&folder, &config));
        assert_eq!(out.code, Some(1), "{}", out.stderr);
        assert!(out.stderr.contains(&port.to_string()), "{}", out.stderr);
        assert!(out.stderr.contains(&us), "the holder is not named: {}", out.stderr);
    }
}

#[test]
fn an_address_that_may_come_yet_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = "public.addresses = [\"203.0.113.7/203.0.113.8\"]\nhttp.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"127.0.0.1:0\"]\n";
    let out = finish(&mut command(&folder, config));
    assert_eq!(out.code, Some(1), "systemd does not restart after status 2: {}", out.stderr);
    assert!(out.stderr.contains("callgate.toml:1: public.addresses: 203.0.113.8"), "{}", out.stderr);
}

#[test]
fn signals_end_it_cleanly_and_soon() {
    for signal in ["TERM", "INT"] {
        let mut daemon = Callgate::start("");
        let address = daemon.http();
        // A connection that says nothing must not hold the end up.
        let _silent = TcpStream::connect(address).unwrap();
        let begun = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait().code(), Some(0), "{:#?}", daemon.log());
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
}

#[test]
fn the_secret_outlives_the_daemon() {
    let secret = |daemon: &Callgate| std::fs::read_to_string(daemon.state("turn-secret")).unwrap();
    let mut first = Callgate::start("");
    let before = secret(&first);
    first.signal("TERM");
    first.wait();
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().unwrap());
    let mut again = bare(&folder);
    again.envs([("CALLGATE_HTTP__LISTEN", "127.0.0.1:0"), ("CALLGATE_TURN__LISTEN", "127.0.0.1:0")]);
    assert_eq!(secret(&Callgate::spawn(again, folder)), before);
}
