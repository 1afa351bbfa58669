//! SIGHUP and `callgate reload`: what changes without a restart, and what a mistake does.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use callgate::turn::credential;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use webrtc_turn::client::Client;
use webrtc_turn::client::ClientConfig;
use webrtc_util::Conn;

use crate::support::Callgate;
use crate::support::Finished;
use crate::support::PATIENCE;
use crate::support::bare;
use crate::support::command;
use crate::support::finish;

const RELOADED: &str = "configuration reloaded";

/// A daemon of this configuration, whose file can be changed.
fn daemon(more: &str) -> Callgate {
    let folder = tempfile::tempdir().unwrap();
    let command = command(&folder, &config(more));
    Callgate::spawn(command, folder)
}

/// Loopback with free ports, these keys of `[turn]`, and what stands behind them.
fn config(turn: &str) -> String {
    format!(
        "[public]\naddresses = [\"127.0.0.1\"]\n[http]\nlisten = [\"127.0.0.1:0\"]\n\
         [turn]\nlisten = [\"127.0.0.1:0\"]\nrelay_ports = \"61000-65535\"\nworkers = 2\n{turn}"
    )
}

fn write(daemon: &Callgate, more: &str) {
    fs::write(daemon.folder.path().join("callgate.toml"), config(more)).unwrap();
}

fn reload(folder: &TempDir) -> Finished {
    finish(bare(folder).arg("reload").arg("--config").arg(folder.path().join("callgate.toml")))
}

/// The lines with this message, once there are `count`.
fn lines(daemon: &Callgate, message: &str, count: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found: Vec<_> = daemon.log().into_iter().filter(|line| line["message"] == message).collect();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < until, "{} of {count} {message:?}: {:#?}", found.len(), daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_can_change_changes_and_the_rest_is_said_to_need_a_restart() {
    let daemon = daemon("[log]\nfilter = \"info\"\n");
    let is_debug = |line: &Value| line["level"] == "DEBUG";
    assert!(!daemon.log().iter().any(is_debug));
    let more = "realm = \"elsewhere\"\n[log]\nfilter = \"info,callgate=debug\"\n[rooms]\ngrace = \"7s\"\n";
    // Which pages may ask is known to the ports from the start; as is all that hangs on it, cookies among others.
    let text = config(more).replace("[http]\n", "[http]\norigins = [\"https://call.example.org\"]\n");
    fs::write(daemon.folder.path().join("callgate.toml"), text).unwrap();
    let out = reload(&daemon.folder);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert!(out.stdout.contains(&daemon.process().to_string()), "{}", out.stdout);
    lines(&daemon, RELOADED, 1);
    let live = lines(&daemon, "changed, and in force", 1);
    assert_eq!(live.iter().map(|line| &line["key"]).collect::<Vec<_>>(), ["log.filter"]);
    let waiting = lines(&daemon, "changed, and needs a restart to be in force", 3);
    let keys: Vec<_> = waiting.iter().map(|line| &line["key"]).collect();
    assert_eq!(keys, ["http.origins", "rooms.grace", "turn.realm"]);
    assert!(waiting[2]["place"].as_str().unwrap().contains("callgate.toml:"), "{waiting:?}");
    // A request that breaks off is a debug line.
    let mut broken = std::net::TcpStream::connect(daemon.http()).unwrap();
    broken.write_all(b"GET / HTTP/1.1\r\nHost: x").unwrap();
    drop(broken);
    assert!(is_debug(&lines(&daemon, "connection ended early", 1)[0]));
    // Again: nothing is new in force, and the same keys wait.
    daemon.signal("HUP");
    lines(&daemon, RELOADED, 2);
    assert_eq!(lines(&daemon, "changed, and needs a restart to be in force", 6).len(), 6);
    assert_eq!(lines(&daemon, "changed, and in force", 1).len(), 1);
}

#[test]
fn a_mistake_changes_nothing_and_all_mistakes_are_said() {
    let mut daemon = daemon("[log]\nfilter = \"info\"\n");
    write(&daemon, "[log]\nfilter = \"debug\"\n[rooms]\ngrace = \"soon\"\ncapacity = 1\n");
    let out = reload(&daemon.folder);
    assert_eq!(out.code, Some(2), "{}", out.stderr);
    for wanted in ["rooms.grace", "rooms.capacity"] {
        assert!(out.stderr.contains(wanted), "{}", out.stderr);
    }
    daemon.signal("HUP");
    lines(&daemon, "the configuration was not reloaded: all stays as it was", 1);
    let log = daemon.log();
    let errors: Vec<&str> =
        log.iter().filter(|l| l["level"] == "ERROR").filter_map(|l| l["message"].as_str()).collect();
    assert!(errors.len() == 3 && errors[0].contains("callgate.toml:"), "{errors:#?}");
    assert!(!log.iter().any(|line| line["message"] == RELOADED), "the command told the daemon too: {log:#?}");
    write(&daemon, "[log]\nfilter = \"debug\"\n");
    assert_eq!(reload(&daemon.folder).code, Some(0));
    lines(&daemon, RELOADED, 1);
    fs::remove_file(daemon.folder.path().join("callgate.toml")).unwrap();
    daemon.signal("HUP");
    lines(&daemon, "the configuration was not reloaded: all stays as it was", 2);
    daemon.signal("TERM");
    assert_eq!(daemon.wait().code(), Some(0));
    // Gone is gone: the file that is left behind names nobody.
    fs::write(daemon.folder.path().join("callgate.toml"), config("")).unwrap();
    let out = reload(&daemon.folder);
    assert_eq!(out.code, Some(1), "{}", out.stderr);
    assert!(out.stderr.contains("no daemon is running"), "{}", out.stderr);
}

#[test]
fn certificates_are_read_again_at_once_from_new_places_too() {
    let folder = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) =
            (folder.path().join(format!("{name}.pem")), folder.path().join(format!("{name}.key")));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    };
    let (old, new) = (pair("old"), pair("new"));
    let tls = |certificate, key| {
        format!("[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    };
    let daemon = daemon(&tls(&old.0, &old.1));
    // A key of another certificate: nothing wrong with the files themselves.
    write(&daemon, &tls(&new.0, &old.1));
    let out = reload(&daemon.folder);
    assert_eq!(out.code, Some(2), "{}", out.stderr);
    daemon.signal("HUP");
    lines(&daemon, "the configuration was not reloaded: all stays as it was", 1);
    write(&daemon, &tls(&new.0, &new.1));
    assert_eq!(reload(&daemon.folder).code, Some(0));
    lines(&daemon, RELOADED, 1);
    let live = lines(&daemon, "changed, and in force", 2);
    assert_eq!(live.iter().map(|line| &line["key"]).collect::<Vec<_>>(), ["tls.certificate", "tls.key"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let root = reqwest::Certificate::from_pem(&fs::read(&new.0).unwrap()).unwrap();
        let client = reqwest::Client::builder().add_root_certificate(root);
        let client = client.resolve("localhost", daemon.tls[0]).build().unwrap();
        let url = format!("https://localhost:{}/health", daemon.tls[0].port());
        assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    });
    // Without any TLS: its port cannot go before the restart, and so its certificate stays.
    write(&daemon, "");
    assert_eq!(reload(&daemon.folder).code, Some(0));
    lines(&daemon, RELOADED, 2);
    let waiting = lines(&daemon, "changed, and needs a restart to be in force", 3);
    let waiting: Vec<_> = waiting.iter().map(|line| &line["key"]).collect();
    assert_eq!(waiting, ["tls.certificate", "tls.key", "tls.listen"]);
    assert_eq!(lines(&daemon, "changed, and in force", 2).len(), 2);
}

#[test]
fn no_cookie_is_in_force_while_any_page_may_ask() {
    let with = |origins: &str, auth: &str| {
        let key = "[auth]\nkey = \"a key of thirty-two characters..\"\n";
        config("").replace("[http]\n", &format!("[http]\norigins = [{origins:?}]\n")) + key + auth
    };
    let folder = tempfile::tempdir().unwrap();
    let command = command(&folder, &with("*", ""));
    let daemon = Callgate::spawn(command, folder);
    let file = daemon.folder.path().join("callgate.toml");
    fs::write(file, with("https://a.example", "cookie = \"session\"\n")).unwrap();
    let out = reload(&daemon.folder);
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    lines(&daemon, RELOADED, 1);
    let waiting = lines(&daemon, "changed, and needs a restart to be in force", 2);
    let waiting: Vec<_> = waiting.iter().map(|line| &line["key"]).collect();
    assert_eq!(waiting, ["auth.cookie", "http.origins"]);
    assert!(!daemon.log().iter().any(|line| line["message"] == "changed, and in force"));
}

#[tokio::test]
async fn who_may_changes_without_a_restart() {
    const OLD: &str = "a key of thirty-two characters..";
    const NEW: &str = "another key of 32 characters....";
    let auth = |key: &str, api: &str, admin: &str, more: &str| {
        format!("[auth]\nkey = \"{key}\"\napi_keys = [\"{api}\"]\n{more}[admin]\ntoken = \"{admin}\"\n")
    };
    let daemon = daemon(&auth(OLD, "old-api-key-of-it", "old-admin-token-of-it", ""));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let token = |key: &str| {
        let minted = callgate::auth::Minted {
            user: "ada",
            name: None,
            role: callgate::auth::Role::User,
            rooms: None,
            issuer: None,
            audience: None,
            now,
            expires: now + 600,
        };
        callgate::auth::mint(&key.into(), &minted)
    };
    let status = async |path: &str, bearer: &str| {
        let request = reqwest::Client::new()
            .get(daemon.url(path))
            .bearer_auth(bearer)
            .header("x-forwarded-for", "192.0.2.1");
        request.send().await.unwrap().status().as_u16()
    };
    let opens = async || {
        let mut opens = Vec::new();
        for (key, api, admin) in [
            (OLD, "old-api-key-of-it", "old-admin-token-of-it"),
            (NEW, "new-api-key-of-it", "new-admin-token-of-it"),
        ] {
            opens.push(status("/api/ice", &token(key)).await);
            opens.push(status("/api/ice", api).await);
            opens.push(status("/metrics", admin).await);
        }
        opens
    };
    assert_eq!(opens().await, [200, 200, 200, 401, 401, 401]);
    write(&daemon, &auth(NEW, "new-api-key-of-it", "new-admin-token-of-it", ""));
    assert_eq!(reload(&daemon.folder).code, Some(0));
    lines(&daemon, RELOADED, 1);
    assert_eq!(opens().await, [401, 401, 401, 200, 200, 200]);
    let live = lines(&daemon, "changed, and in force", 3);
    let live: Vec<_> = live.iter().map(|line| &line["key"]).collect();
    assert_eq!(live, ["admin.token", "auth.api_keys", "auth.key"]);
    // A set of keys that nobody can read changes nothing.
    let jwks = daemon.folder.path().join("jwks.json");
    fs::write(&jwks, "{").unwrap();
    write(&daemon, &auth(OLD, "old-api-key-of-it", "old-admin-token-of-it", &format!("jwks = {jwks:?}\n")));
    daemon.signal("HUP");
    lines(&daemon, "the configuration was not reloaded: all stays as it was", 1);
    assert_eq!(opens().await, [401, 401, 401, 200, 200, 200]);
    // The set alone has changed: read at once by the signal, and by itself otherwise.
    let oct = |key: &str| format!(r#"{{"keys":[{{"kty":"oct","k":"{}"}}]}}"#, base64_url(key));
    fs::write(&jwks, oct(OLD)).unwrap();
    write(&daemon, &auth(NEW, "new-api-key-of-it", "new-admin-token-of-it", &format!("jwks = {jwks:?}\n")));
    daemon.signal("HUP");
    lines(&daemon, RELOADED, 2);
    assert_eq!(opens().await, [200, 401, 401, 200, 200, 200]);
    fs::write(&jwks, "{").unwrap();
    let error = lines(
        &daemon,
        "the file of token keys has changed and cannot be used: the old keys stay. Put a JWKS there; it is taken by itself",
        1,
    );
    assert!(error[0]["error"].as_str().unwrap().contains("jwks.json: not a JWKS"), "{error:?}");
    assert_eq!(opens().await[0], 200);
    fs::write(&jwks, oct("a third key of 32 characters....")).unwrap();
    lines(&daemon, "the keys of user tokens have changed, and are in force", 1);
    assert_eq!(opens().await[0], 401);
    assert_eq!(status("/api/ice", &token("a third key of 32 characters....")).await, 200);
}

fn base64_url(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// A client of TURN, with an allocation if it is let in.
async fn allocated(daemon: &Callgate, username: &str, password: &str) -> Option<(Client, impl Conn + use<>)> {
    let server = daemon.turn[0];
    let client = Client::new(ClientConfig {
        stun_serv_addr: server.to_string(),
        turn_serv_addr: server.to_string(),
        username: username.to_owned(),
        password: password.to_owned(),
        realm: "callgate".to_owned(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind((server.ip(), 0)).await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    let relay = client.allocate().await.ok()?;
    Some((client, relay))
}

/// The same with a credential of this secret.
async fn with_secret(daemon: &Callgate, secret: &str) -> Option<(Client, impl Conn + use<>)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let id = uuid::Uuid::new_v4().to_string();
    let made = credential::mint(&SecretString::from(secret), &id, now + 600);
    allocated(daemon, &made.username, &made.password).await
}

/// The same, once it is let in: the relay's threads hear of new keys a moment after the configuration is read.
async fn soon_with_secret(daemon: &Callgate, secret: &str) -> (Client, impl Conn + use<>) {
    let until = Instant::now() + PATIENCE;
    loop {
        match with_secret(daemon, secret).await {
            Some(allocated) => return allocated,
            None => assert!(Instant::now() < until, "{secret} is not in force"),
        }
    }
}

/// A member of a room, by long polling.
struct Member {
    client: reqwest::Client,
    url: String,
}

impl Member {
    /// With what it was told by then.
    async fn join(daemon: &Callgate) -> (Member, String) {
        let url = daemon.url("/socket.io/?EIO=4&transport=polling");
        let mut member = Member { client: reqwest::Client::new(), url };
        let open: Value = serde_json::from_str(member.poll().await.trim_start_matches('0')).unwrap();
        member.url = format!("{}&sid={}", member.url, open["sid"].as_str().unwrap());
        member.client.post(&member.url).body("40").send().await.unwrap();
        member.hear("40{").await;
        let join = "42[\"join\",{\"roomId\":\"tea\"}]";
        member.client.post(&member.url).body(join).send().await.unwrap();
        let said = member.hear("\"joined\"").await;
        (member, said)
    }

    async fn poll(&self) -> String {
        let sent = self.client.get(&self.url).timeout(PATIENCE).send().await.unwrap();
        sent.text().await.unwrap()
    }

    /// All until this is said.
    async fn hear(&self, wanted: &str) -> String {
        let mut said = String::new();
        while !said.contains(wanted) {
            said.push_str(&self.poll().await);
        }
        said
    }
}

/// The user name and password in what a member was told.
fn credential_in(said: &str) -> (String, String) {
    let value = |key: &str| {
        let (_, rest) = said.split_once(&format!("\"{key}\":\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    (value("username"), value("credential"))
}

/// The user name and password that who joins a room is handed.
pub(crate) async fn handed_out(daemon: &Callgate) -> (String, String) {
    credential_in(&Member::join(daemon).await.1)
}

/// The password that goes with the user name if this secret signs.
fn signed(username: &str, secret: &str) -> String {
    let (expires, id) = username.split_once(':').unwrap();
    credential::mint(&secret.into(), id, expires.parse().unwrap()).password
}

#[tokio::test]
async fn members_get_credentials_of_the_new_secret_soon() {
    let daemon = daemon("secrets = [\"north wind\"]\n");
    let (member, said) = Member::join(&daemon).await;
    let (username, password) = credential_in(&said);
    assert_eq!(password, signed(&username, "north wind"));
    let begun = Instant::now();
    write(&daemon, "secrets = [\"south wind\"]\n");
    assert_eq!(reload(&daemon.folder).code, Some(0));
    let (username, password) = credential_in(&member.hear("\"ice-servers\"").await);
    assert_eq!(password, signed(&username, "south wind"));
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert!(allocated(&daemon, &username, &password).await.is_some());
}

#[tokio::test]
async fn secrets_and_users_change_under_those_who_are_relayed() {
    let daemon = daemon("secrets = [\"north wind\"]\n");
    let north = with_secret(&daemon, "north wind").await.expect("the secret is in force");
    assert!(with_secret(&daemon, "south wind").await.is_none());

    write(&daemon, "secrets = [\"south wind\", \"north wind\"]\nusers = [\"amy:passw0rd!\"]\n");
    assert_eq!(reload(&daemon.folder).code, Some(0));
    lines(&daemon, RELOADED, 1);
    let south = soon_with_secret(&daemon, "south wind").await;
    let again = with_secret(&daemon, "north wind").await.expect("the old secret is out of force too soon");
    let amy = allocated(&daemon, "amy", "passw0rd!").await.expect("the new user is not known");
    let (username, password) = handed_out(&daemon).await;
    assert_eq!(password, signed(&username, "south wind"), "signed with the second secret");
    daemon.wait_for_metric("callgate_allocations", 4.0).await;

    write(&daemon, "secrets = [\"south wind\"]\n");
    assert_eq!(reload(&daemon.folder).code, Some(0));
    daemon.wait_for_metric("callgate_allocations", 1.0).await;
    assert!(with_secret(&daemon, "north wind").await.is_none());
    assert!(allocated(&daemon, "amy", "passw0rd!").await.is_none());
    let log = daemon.log();
    assert!(
        !log.iter().any(|line| line.to_string().contains("wind") || line.to_string().contains("passw0rd"))
    );
    drop((north, south, again, amy));
}

#[test]
fn systemd_is_told_when_a_reload_begins_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let mut command = command(&folder, &config(""));
    command.env("NOTIFY_SOCKET", &path);
    let mut daemon = Callgate::spawn(command, folder);
    assert!(next().contains("READY=1"));
    daemon.signal("HUP");
    let begun = next();
    assert!(begun.contains("RELOADING=1") && begun.contains("MONOTONIC_USEC="), "{begun}");
    let ended = next();
    assert!(ended.contains("READY=1") && ended.contains("STATUS=reloaded"), "{ended}");
    daemon.signal("TERM");
    assert!(next().contains("STOPPING=1"));
    assert_eq!(daemon.wait().code(), Some(0));
}
