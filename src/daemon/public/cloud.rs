//! What the cloud says: a virtual machine behind 1:1 NAT does not see its public address, but the metadata service of its
//! cloud tells it. It is asked only where the machine's own tables (DMI) name the cloud, and once.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::interfaces::is_global;

/// Where the kernel shows the machine's tables.
pub(super) const DMI: &str = "/sys/class/dmi/id";

/// For everything: to connect, to ask, to be answered.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest answer, in bytes. Most are an address; Scaleway's is all there is to know.
const LONGEST: usize = 16 * 1024;

const LINK_LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A cloud, how it is recognised, and how it is asked.
struct Cloud {
    name: &'static str,
    /// Files of DMI, and how the one that names the cloud begins. One is enough.
    marks: &'static [(&'static str, &'static str)],
    at: Ipv4Addr,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    how: How,
}

/// What asking takes.
enum How {
    /// The answer is the address.
    Plain,
    /// So it is, for who shows a token, which is given to who PUTs for one (IMDSv2).
    Token,
    /// The answer has a line of this name, `NAME=address`.
    Line(&'static str),
}

const SYS_VENDOR: &str = "sys_vendor";
const PRODUCT_NAME: &str = "product_name";
const CHASSIS: &str = "chassis_asset_tag";

/// The clouds whose services tell the public IPv4 address, in the words of their documentation. Not Oracle's, which does not
/// say it. Of IPv6 there is nothing to ask: these clouds give global addresses to the interface itself.
const CLOUDS: [Cloud; 9] = [
    Cloud {
        name: "Amazon EC2",
        marks: &[(SYS_VENDOR, "Amazon EC2"), ("bios_vendor", "Amazon EC2"), ("board_vendor", "Amazon EC2")],
        at: LINK_LOCAL,
        path: "/latest/meta-data/public-ipv4",
        headers: &[],
        how: How::Token,
    },
    Cloud {
        name: "Google Cloud",
        marks: &[(PRODUCT_NAME, "Google Compute Engine")],
        at: LINK_LOCAL,
        path: "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
        headers: &[("metadata-flavor", "Google")],
        how: How::Plain,
    },
    Cloud {
        name: "Microsoft Azure",
        marks: &[(CHASSIS, "7783-7084-3265-9085-8269-3286-77")],
        at: LINK_LOCAL,
        path: "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
        headers: &[("metadata", "true")],
        how: How::Plain,
    },
    Cloud {
        name: "DigitalOcean",
        marks: &[(SYS_VENDOR, "DigitalOcean")],
        at: LINK_LOCAL,
        path: "/metadata/v1/interfaces/public/0/ipv4/address",
        headers: &[],
        how: How::Plain,
    },
    Cloud {
        name: "Hetzner Cloud",
        marks: &[(SYS_VENDOR, "Hetzner")],
        at: LINK_LOCAL,
        path: "/hetzner/v1/metadata/public-ipv4",
        headers: &[],
        how: How::Plain,
    },
    Cloud {
        name: "Vultr",
        marks: &[(SYS_VENDOR, "Vultr")],
        at: LINK_LOCAL,
        path: "/v1/interfaces/0/ipv4/address",
        headers: &[],
        how: How::Plain,
    },
    Cloud {
        name: "Alibaba Cloud",
        marks: &[(PRODUCT_NAME, "Alibaba Cloud ECS")],
        at: Ipv4Addr::new(100, 100, 100, 200),
        path: "/latest/meta-data/eipv4",
        headers: &[],
        how: How::Plain,
    },
    Cloud {
        name: "Scaleway",
        marks: &[(SYS_VENDOR, "Scaleway")],
        at: Ipv4Addr::new(169, 254, 42, 42),
        path: "/conf",
        headers: &[],
        how: How::Line("PUBLIC_IP_ADDRESS"),
    },
    Cloud {
        name: "OpenStack",
        marks: &[
            (PRODUCT_NAME, "OpenStack Nova"),
            (PRODUCT_NAME, "OpenStack Compute"),
            (CHASSIS, "OpenStack Nova"),
            (CHASSIS, "OpenStack Compute"),
        ],
        at: LINK_LOCAL,
        path: "/latest/meta-data/public-ipv4",
        headers: &[],
        how: How::Plain,
    },
];

/// The public IPv4 address that the cloud knows, and the cloud's name. Nothing: this is no cloud we know, or its service has no
/// good answer within a second. `dmi` is the folder with the machine's tables; `at` stands in for the service's address.
pub(super) async fn ask(dmi: &Path, at: Option<SocketAddr>) -> Option<(IpAddr, &'static str)> {
    // A machine that runs tests may be busy.
    ask_within(if cfg!(test) { 20 * PATIENCE } else { PATIENCE }, dmi, at).await
}

async fn ask_within(
    patience: Duration,
    dmi: &Path,
    at: Option<SocketAddr>,
) -> Option<(IpAddr, &'static str)> {
    let cloud = CLOUDS.iter().find(|cloud| cloud.is_here(dmi))?;
    let at = at.unwrap_or_else(|| SocketAddr::from((cloud.at, 80)));
    let answer = timeout(patience, cloud.answer(at)).await.ok().flatten();
    if answer.is_none() {
        tracing::debug!(cloud = cloud.name, "its metadata service told no public address");
    }
    Some((answer?, cloud.name))
}

impl Cloud {
    fn is_here(&self, dmi: &Path) -> bool {
        self.marks.iter().any(|(file, mark)| {
            let mut text = String::new();
            let read = File::open(dmi.join(file)).and_then(|file| file.take(256).read_to_string(&mut text));
            read.is_ok() && text.trim_start().starts_with(mark)
        })
    }

    async fn answer(&self, at: SocketAddr) -> Option<IpAddr> {
        let token = match self.how {
            How::Token => {
                let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
                Some(text("PUT", at, "/latest/api/token", &[ttl]).await?)
            }
            How::Plain | How::Line(_) => None,
        };
        let mut headers = self.headers.to_vec();
        headers.extend(token.as_deref().map(|token| ("x-aws-ec2-metadata-token", token.trim())));
        self.address(&text("GET", at, self.path, &headers).await?)
    }

    /// Believed only if it is an address the internet could route to.
    fn address(&self, answer: &str) -> Option<IpAddr> {
        let address = match self.how {
            How::Plain | How::Token => answer,
            How::Line(name) => {
                answer.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?
            }
        };
        let address = IpAddr::V4(address.trim().trim_matches(['"', '\'']).parse().ok()?);
        is_global(address).then_some(address)
    }
}

/// The body of a good answer, if it is a short text. On a connection of its own: these services close theirs after each answer.
async fn text(method: &str, at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Option<String> {
    let stream = TcpStream::connect(at).await.ok()?;
    let (mut service, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::select! {
        text = exchange(&mut service, method, at, path, headers) => text,
        // It ends by itself with the service's end of it; then the asking ends too.
        _ = async { let _ = connection.await; std::future::pending::<()>().await } => None,
    }
}

async fn exchange(
    service: &mut SendRequest<Empty<Bytes>>,
    method: &str,
    at: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<String> {
    let request = Request::builder().method(method).uri(path).header("host", at.ip().to_string());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let answer = service.send_request(request.body(Empty::new()).ok()?).await.ok()?;
    if answer.status() != http::StatusCode::OK {
        return None;
    }
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.ok()?.to_bytes();
    String::from_utf8(body.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::time::Instant;

    use tempfile::TempDir;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// A folder of DMI with one file.
    fn dmi(file: &str, text: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(file), format!("{text}\n")).unwrap();
        folder
    }

    /// A metadata service that answers each request's head with what `answer` makes of it (nothing: never), and the heads it
    /// was sent.
    async fn service(
        answer: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut said = Vec::new();
                while stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
                    let text = String::from_utf8_lossy(&said).into_owned();
                    let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                    seen.lock().unwrap().push(head.to_owned());
                    said.clear();
                    match answer(head) {
                        Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                        None => std::future::pending().await,
                    }
                    // As Amazon's does.
                    break;
                }
            }
        });
        (at, heads)
    }

    fn ok(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn each_cloud_is_known_by_its_tables_and_asked_in_its_way() {
        for (file, mark, name, request, body) in [
            (PRODUCT_NAME, "Google Compute Engine", "Google Cloud", "metadata-flavor: Google", "5.9.1.2"),
            (CHASSIS, "7783-7084-3265-9085-8269-3286-77", "Microsoft Azure", "metadata: true", "5.9.1.2"),
            (
                SYS_VENDOR,
                "DigitalOcean",
                "DigitalOcean",
                "GET /metadata/v1/interfaces/public/0/ipv4/address ",
                "5.9.1.2\n",
            ),
            (SYS_VENDOR, "Hetzner", "Hetzner Cloud", "GET /hetzner/v1/metadata/public-ipv4 ", "5.9.1.2"),
            (SYS_VENDOR, "Vultr", "Vultr", "GET /v1/interfaces/0/ipv4/address ", "5.9.1.2"),
            (PRODUCT_NAME, "Alibaba Cloud ECS", "Alibaba Cloud", "GET /latest/meta-data/eipv4 ", "5.9.1.2"),
            (PRODUCT_NAME, "OpenStack Nova", "OpenStack", "GET /latest/meta-data/public-ipv4 ", "5.9.1.2"),
            (
                SYS_VENDOR,
                "Scaleway",
                "Scaleway",
                "GET /conf ",
                "ID=1\nPUBLIC_IP=DYNAMIC ID\nPUBLIC_IP_ADDRESS=5.9.1.2\nTAGS=0",
            ),
        ] {
            let (at, heads) = service(move |_| Some(ok(body))).await;
            let found = ask(dmi(file, mark).path(), Some(at)).await;
            assert_eq!(found, Some(("5.9.1.2".parse().unwrap(), name)), "{mark}");
            let heads = heads.lock().unwrap();
            assert!(heads.len() == 1 && heads[0].contains(request), "{mark}: {heads:?}");
        }
    }

    #[tokio::test]
    async fn amazon_is_asked_for_a_token_first() {
        for file in [SYS_VENDOR, "bios_vendor", "board_vendor"] {
            let (at, heads) = service(|head| {
                let token =
                    head.starts_with("PUT /latest/api/token ") && head.contains("token-ttl-seconds: ");
                let shown = head.starts_with("GET /latest/meta-data/public-ipv4 ")
                    && head.contains("x-aws-ec2-metadata-token: the-token");
                let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
                Some(if token {
                    ok("the-token")
                } else if shown {
                    ok("5.9.1.2")
                } else {
                    refused.to_owned()
                })
            })
            .await;
            let found = ask(dmi(file, "Amazon EC2").path(), Some(at)).await;
            assert_eq!(
                found,
                Some(("5.9.1.2".parse().unwrap(), "Amazon EC2")),
                "{:?}",
                heads.lock().unwrap()
            );
        }
    }

    #[tokio::test]
    async fn a_machine_of_no_cloud_asks_nobody() {
        let (at, heads) = service(|_| Some(ok("5.9.1.2"))).await;
        for folder in [
            dmi(SYS_VENDOR, "QEMU"),
            dmi(PRODUCT_NAME, "Not Google Compute Engine"),
            dmi(CHASSIS, "OracleCloud.com"),
            dmi(SYS_VENDOR, ""),
            tempfile::tempdir().unwrap(),
        ] {
            assert_eq!(ask(folder.path(), Some(at)).await, None);
        }
        assert!(heads.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn an_odd_answer_is_none() {
        let long = ok(&"5.9.1.2 ".repeat(10_000));
        for answer in [
            ok(""),
            ok("10.0.0.5"),
            ok("169.254.169.254"),
            ok("127.0.0.1"),
            ok("0.0.0.0"),
            ok("<html>5.9.1.2</html>"),
            ok("5.9.1.2 5.9.1.3"),
            ok("2a01:4f8::2"),
            ok("call.example.org"),
            long,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\n5.9.1.2".to_owned(),
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 7\r\n\r\n5.9.1.2"
                .to_owned(),
            "5.9.1.2\r\n\r\n".to_owned(),
        ] {
            let (at, _) = service(move |_| Some(answer.clone())).await;
            assert_eq!(ask(dmi(SYS_VENDOR, "Hetzner").path(), Some(at)).await, None);
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_left_after_a_second() {
        let folder = dmi(SYS_VENDOR, "Amazon EC2");
        let (mute, _) = service(|_| None).await;
        let (slow, _) = service(|head| head.starts_with("PUT").then(|| ok("token"))).await;
        for at in [mute, slow] {
            let begun = Instant::now();
            assert_eq!(ask_within(PATIENCE, folder.path(), Some(at)).await, None);
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(ask(folder.path(), Some(nobody)).await, None);
    }
}
