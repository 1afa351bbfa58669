//! The commands. Exit codes: 0 done, 1 failed, 2 the configuration or the command line is wrong.

use std::io::Write as _;
use std::io::stderr;
use std::io::stdout;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::bail;
use clap::Parser;
use clap::Subcommand;
use serde_json::json;

use crate::auth;
use crate::auth::Role;
use crate::config;
use crate::config::AuthKey;
use crate::config::Environment;
use crate::config::Settings;
use crate::config::State;
use crate::daemon;
use crate::label;
use crate::log;
use crate::rooms::RoomId;
use crate::turn::credential;

#[derive(Parser)]
#[command(name = "callgate", version, about, disable_help_subcommand = true)]
struct Cli {
    /// The configuration file [default: /etc/callgate/callgate.toml if it exists, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (what happens without a command)
    Serve,
    /// Check the configuration, and print it as it is understood, without secrets
    Check,
    /// Check the configuration, then have the running daemon read it again
    Reload,
    /// Copy what the store holds into a new file, while the daemon runs
    Backup {
        /// The copy, which must not be there yet
        file: PathBuf,
    },
    /// Make a time-limited TURN credential, as JSON
    Credentials {
        /// Whom it is for: the part of the user name behind the expiry
        #[arg(long, default_value = "cli", value_parser = relayed)]
        user: String,
        /// How long it opens relays [default: turn.credential_ttl]
        #[arg(long, value_parser = ttl)]
        ttl: Option<Duration>,
    },
    /// Make a user token (JWT), signed by HS256 with auth.key: for tests, and to see what tokens look like
    Token {
        /// Who its bearer is: 1 to 128 visible ASCII characters
        #[arg(long, default_value = "cli", value_parser = bearer)]
        user: String,
        /// The name that others see
        #[arg(long, value_parser = name)]
        name: Option<String>,
        /// A room it may enter; several may be given [default: all]
        #[arg(long = "room", value_name = "ROOM", value_parser = room)]
        rooms: Vec<String>,
        /// What it may do in rooms of others: user, moderator or admin
        #[arg(long, default_value = "user", value_parser = role)]
        role: Role,
        /// How long it is good for
        #[arg(long, default_value = "1h", value_parser = ttl)]
        ttl: Duration,
    },
}

/// Ends are written in whole seconds: what lasts less is over when it is printed.
fn ttl(text: &str) -> Result<Duration, String> {
    let time = config::parse_duration(text);
    let time = time.ok_or_else(|| "write a number and its unit: 30s, 5m, 1h, 2d".to_owned())?;
    let long_enough = time >= Duration::from_secs(1);
    long_enough.then_some(time).ok_or_else(|| "it would have expired at once: 1s is the shortest".to_owned())
}

fn bearer(text: &str) -> Result<String, String> {
    let what = "a user is 1 to 128 visible ASCII characters";
    label::is_visible(text).then(|| text.to_owned()).ok_or_else(|| what.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let what = "a name has 1 to 128 bytes, not only blanks and no control characters";
    label::is_plain(text).then(|| text.to_owned()).ok_or_else(|| what.to_owned())
}

/// Whom the relay serves by a credential made here: no member of a room, and nobody with too long a name.
fn relayed(text: &str) -> Result<String, String> {
    if credential::is_member(text) {
        return Err("credentials of rooms' members are made with a join alone: take another name".to_owned());
    }
    let good = text.len() <= label::LONGEST && !text.chars().any(char::is_control);
    good.then(|| text.to_owned())
        .ok_or_else(|| "a user has up to 128 bytes, no control characters".to_owned())
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "user" => Ok(Role::User),
        "moderator" => Ok(Role::Moderator),
        "admin" => Ok(Role::Admin),
        _ => Err("write user, moderator or admin".to_owned()),
    }
}

/// A token for a room that cannot be would open nothing.
fn room(text: &str) -> Result<String, String> {
    let known = RoomId::parse(text).map(|id| id.as_str().to_owned());
    known.ok_or_else(|| "a room's id is 1 to 64 of A-Z a-z 0-9 _ -".to_owned())
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let environment = config::environment();
    let read = || config::load(cli.config.as_deref(), &environment);
    let outcome = read().map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|settings| match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            log::start(&settings.log);
            daemon::run(daemon::Start {
                settings: &settings,
                state: &State::find(&environment),
                environment: &environment,
                reread: &read,
            })
        }
        Command::Reload => reload(&settings, &environment),
        Command::Check => check(&settings),
        Command::Backup { file } => backup(&settings, &State::find(&environment), &file),
        Command::Credentials { user, ttl } => credentials(&settings, &State::find(&environment), &user, ttl),
        Command::Token { user, name, rooms, role, ttl } => {
            token(&settings, &user, name.as_deref(), &rooms, role, ttl)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _ = writeln!(stderr(), "callgate: {error:#}");
            ExitCode::from(if daemon::is_of_configuration(&error) { 2 } else { 1 })
        }
    }
}

fn check(settings: &Settings) -> anyhow::Result<()> {
    for warning in daemon::check(settings)? {
        // The configuration may be for a network that is yet to come: this is no failure.
        let _ = writeln!(stderr(), "callgate: warning: {warning}");
    }
    let file = settings.file.as_ref().map_or_else(
        || format!("built-in defaults (there is no {})", config::DEFAULT_FILE),
        |file| file.display().to_string(),
    );
    print(&format!("# {file}\n\n{}", config::show(settings)))
}

fn reload(settings: &Settings, environment: &Environment) -> anyhow::Result<()> {
    for warning in daemon::check(settings)? {
        let _ = writeln!(stderr(), "callgate: warning: {warning}");
    }
    let process = daemon::reload_running(environment, &State::find(environment))?;
    print(&format!("process {process} reads its configuration again; its log says what came of it\n"))
}

fn backup(settings: &Settings, state: &State, file: &Path) -> anyhow::Result<()> {
    let copied = daemon::backup(settings, state, file)?;
    print(&format!(
        "{}: {} bytes; {} rooms, {} people in them, {} messages, {} calls\n",
        file.display(),
        copied.bytes,
        copied.rooms,
        copied.people,
        copied.messages,
        copied.calls
    ))
}

fn credentials(settings: &Settings, state: &State, user: &str, ttl: Option<Duration>) -> anyhow::Result<()> {
    let secret = match settings.turn.secrets.first() {
        Some(secret) => secret.clone(),
        None => match (state.kept("turn-secret")?, state.folder()) {
            (Some(secret), _) => secret,
            (None, Some(folder)) => bail!(
                "the daemon's secret is not in {}: start the daemon once, say where its state is (STATE_DIRECTORY), or set turn.secrets",
                folder.display()
            ),
            (None, None) => bail!("no state folder is known: set STATE_DIRECTORY, or turn.secrets"),
        },
    };
    let ttl = ttl.unwrap_or(settings.turn.credential_ttl);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let credential = credential::mint(&secret, user, now.saturating_add(ttl).as_secs());
    print(&format!(
        "{:#}\n",
        json!({
            "username": credential.username,
            "password": credential.password,
            "realm": settings.turn.realm,
            "ttl": ttl.as_secs(),
        })
    ))
}

fn token(
    settings: &Settings,
    user: &str,
    name: Option<&str>,
    rooms: &[String],
    role: Role,
    ttl: Duration,
) -> anyhow::Result<()> {
    let auth = &settings.auth;
    let keyring = daemon::keyring(settings)?;
    let secret = match &auth.key {
        Some(AuthKey::Secret(secret)) => secret,
        Some(AuthKey::Public { .. }) => bail!(
            "auth.key is a public key, which signs nothing: have the issuer of your tokens make one, or try with auth.key = \"a secret\""
        ),
        None => bail!("there is no secret to sign with; set auth.key (openssl rand -hex 32 makes one)"),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let token = auth::mint(
        secret,
        &auth::Minted {
            user,
            name,
            role,
            // None named: all of them. A list of none cannot be written on a command line.
            rooms: (!rooms.is_empty()).then_some(rooms),
            issuer: auth.issuer.first().map(String::as_str),
            audience: auth.audience.first().map(String::as_str),
            now: now.as_secs(),
            expires: now.saturating_add(ttl).as_secs(),
        },
    );
    // What the daemon would refuse is better not handed out.
    if let Err(refused) = auth::Tokens::new(keyring).verify(&token) {
        bail!("the daemon would refuse it: {refused}");
    }
    print(&format!("{token}\n"))
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
