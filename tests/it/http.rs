//! HTTP from outside: pages, health, figures, origins, TLS, and people who do not behave.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

use reqwest::Client;
use reqwest::StatusCode;

use crate::support::Callgate;
use crate::support::PATIENCE;
use crate::support::read_to_end;

#[tokio::test]
async fn health_and_readiness_are_told() {
    let daemon = Callgate::start("");
    let health: serde_json::Value = reqwest::get(daemon.url("/health")).await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(reqwest::get(daemon.url("/ready")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn pages_have_types_tags_and_security_headers() {
    let daemon = Callgate::start("");
    let client = Client::new();
    let first = client.get(daemon.url("/robots.txt")).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(first.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(first.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));
    assert_eq!(first.headers()["x-content-type-options"], "nosniff");
    let tag = first.headers()["etag"].clone();
    let again = client.get(daemon.url("/robots.txt")).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(
        client.post(daemon.url("/robots.txt")).send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
    let home = client.get(daemon.url("/")).send().await.unwrap();
    assert_eq!(home.headers()["content-type"], "text/html; charset=utf-8");
    let sdk = client.get(daemon.url("/sdk.js")).send().await.unwrap();
    assert_eq!(sdk.headers()["content-type"], "text/javascript; charset=utf-8");
    for nowhere in ["/nowhere", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd"] {
        assert_eq!(
            client.get(daemon.url(nowhere)).send().await.unwrap().status(),
            StatusCode::NOT_FOUND,
            "{nowhere}"
        );
    }
    let api = client.get(daemon.url("/api/nowhere")).send().await.unwrap();
    assert_eq!(api.status(), StatusCode::NOT_FOUND);
    assert_eq!(api.json::<serde_json::Value>().await.unwrap()["error"]["code"], "not-found");
}

#[tokio::test]
async fn figures_are_for_this_machine_or_the_bearer_of_the_token() {
    let daemon = Callgate::start("[admin]\ntoken = \"a-token-of-the-operator\"\n");
    let ask = |pairs: &[(&'static str, &'static str)]| {
        let mut request = Client::new().get(daemon.url("/metrics"));
        for (name, value) in pairs {
            request = request.header(*name, *value);
        }
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(ask(&[]).await, StatusCode::OK);
    let outside = ("x-forwarded-for", "192.0.2.1");
    assert_eq!(ask(&[outside]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&[outside, ("authorization", "Bearer wrong")]).await, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&[outside, ("authorization", "Bearer a-token-of-the-operator")]).await, StatusCode::OK);
    let figures = daemon.metrics().await;
    assert_eq!(figures[&format!("callgate_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
    assert!(figures["callgate_tasks"] >= 1.0, "{figures:#?}");
    assert!(figures["callgate_tcp_connections"] >= 1.0, "{figures:#?}");
    for name in ["callgate_peers", "callgate_allocations", "callgate_connections", "callgate_joins_total"] {
        assert_eq!(figures[name], 0.0, "{figures:#?}");
    }
}

#[tokio::test]
async fn foreign_origins_are_refused_and_allowed_ones_get_cors() {
    let daemon = Callgate::start_with("", &[("CLIENT_URL", "https://app.example.org/")]);
    let ask = |origin: &'static str, path: &'static str| {
        let request = Client::new().get(daemon.url(path)).header("origin", origin);
        async move { request.send().await.unwrap() }
    };
    let refused = ask("https://evil.example", "/api/rooms").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
    let refused = ask("https://evil.example", "/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let allowed = ask("https://app.example.org", "/health").await;
    assert_eq!(allowed.headers()["access-control-allow-origin"], "https://app.example.org");
    assert_eq!(allowed.headers()["access-control-allow-credentials"], "true");
    let preflight = Client::new()
        .request(reqwest::Method::OPTIONS, daemon.url("/api/rooms"))
        .header("origin", "https://app.example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://app.example.org");
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn tls_ports_show_the_given_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let daemon = Callgate::start(&format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    ));
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client =
        Client::builder().add_root_certificate(root).resolve("localhost", daemon.tls[0]).build().unwrap();
    let url = format!("https://localhost:{}/health", daemon.tls[0].port());
    assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::OK);
    // Plain words at a TLS port are no handshake.
    let mut plain = TcpStream::connect(daemon.tls[0]).unwrap();
    let _ = plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    tokio::task::spawn_blocking(move || read_to_end(&mut plain, PATIENCE).unwrap()).await.unwrap();
    daemon.wait_for_metric("callgate_connections_refused_total{reason=\"handshake\"}", 1.0).await;
}

#[tokio::test]
async fn slow_and_silent_clients_are_cut_and_garbage_is_answered() {
    let daemon = Callgate::start("");
    let address = daemon.http();
    let silent = TcpStream::connect(address).unwrap();
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    let mut almost = TcpStream::connect(address).unwrap();
    almost.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    let mut idle = TcpStream::connect(address).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let open =
        reqwest::get(daemon.url("/socket.io/?EIO=4&transport=polling")).await.unwrap().text().await.unwrap();
    let open: serde_json::Value = serde_json::from_str(open.trim_start_matches('0')).unwrap();
    let mut drip = TcpStream::connect(address).unwrap();
    let session = open["sid"].as_str().unwrap();
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n4"
    );
    drip.write_all(head.as_bytes()).unwrap();
    let mut cut = Vec::new();
    for mut stream in [silent, slow, almost, idle, drip] {
        cut.push(tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            read_to_end(&mut stream, 2 * PATIENCE).expect("it is still open");
            begun.elapsed()
        }));
    }
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        &[0xff; 4096],
        b"\0\x01\0\0\x21\x12\xa4\x42",
        b"\r\n\r\n\r\n\r\n",
        b"GET",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may have closed before all of it is said.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        tokio::task::spawn_blocking(move || read_to_end(&mut stream, PATIENCE).expect("still open"))
            .await
            .unwrap();
    }
    let mut long = TcpStream::connect(address).unwrap();
    let head = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    // The server may close before it has read everything.
    let _ = long.write_all(head.as_bytes());
    let answer =
        tokio::task::spawn_blocking(move || read_to_end(&mut long, PATIENCE).unwrap()).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    for one in cut {
        let took = one.await.unwrap();
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
    assert_eq!(reqwest::get(daemon.url("/health")).await.unwrap().status(), StatusCode::OK);
    daemon.wait_for_metric("callgate_tcp_connections", 1.0).await;
}
