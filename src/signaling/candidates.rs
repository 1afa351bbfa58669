//! The addresses that a member signals for itself: those of its ICE candidates (RFC 8839, section 5.1) and of its
//! description's connection lines (RFC 8866, section 5.7). A room's relays may talk to these.
//!
//! What is passed on is not parsed, only searched, as it came in its JSON: whatever object or string the client's dialect wraps
//! it in, a candidate is `candidate:` and some words. One written with `\u` escapes is not found, and grants nothing.

use std::net::IpAddr;

use smallvec::SmallVec;

/// The most addresses taken from one event.
pub(super) const MOST: usize = 32;

/// How long a candidate may be from its foundation to its type.
const LONGEST: usize = 192;

/// How many candidates of one event are looked at.
const LOOKS: usize = 256;

/// Addresses, each once, IPv4-mapped ones as IPv4.
pub(super) type Addresses = SmallVec<[IpAddr; 2]>;

/// Every address signaled in `json`, in order, at most `MOST`.
pub(super) fn addresses(json: &str) -> Addresses {
    let text = json.as_bytes();
    let mut found = Addresses::new();
    // Single bytes are looked for because that goes at many bytes a cycle: every candidate has this one,
    let candidates = json.match_indices(':').filter(|(at, _)| text[..*at].ends_with(b"candidate"));
    for (at, _) in candidates.take(LOOKS) {
        take(&mut found, of_candidate(&text[at + 1..]));
    }
    // and every line of a description that one.
    let connections = json.match_indices('=').filter(|(at, _)| text[..*at].ends_with(b"c"));
    for (at, _) in connections.take(LOOKS) {
        take(&mut found, of_connection(&text[at + 1..]));
    }
    found
}

fn take(found: &mut Addresses, address: Option<IpAddr>) {
    let Some(address) = address.map(|address| address.to_canonical()) else { return };
    if found.len() < MOST && !address.is_unspecified() && !found.contains(&address) {
        found.push(address);
    }
}

/// `<foundation> <component> <transport> <priority> <address> <port> typ …`. A name (mDNS) is no address.
fn of_candidate(rest: &[u8]) -> Option<IpAddr> {
    let mut words = rest[..rest.len().min(LONGEST)].split(|byte| *byte == b' ');
    let address = words.nth(4)?;
    (words.nth(1)? == b"typ").then(|| parse(address)).flatten()
}

/// `IN IP4 <address>`, or `IP6`. Browsers write 0.0.0.0 or a loopback address where they mean none.
fn of_connection(rest: &[u8]) -> Option<IpAddr> {
    let rest = rest.strip_prefix(b"IN IP4 ").or_else(|| rest.strip_prefix(b"IN IP6 "))?;
    let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let end = rest.iter().take(LONGEST).position(|byte| !part(byte)).unwrap_or(rest.len().min(LONGEST));
    parse(&rest[..end]).filter(|address| !address.to_canonical().is_loopback())
}

fn parse(address: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(address).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(json: &str) -> Vec<String> {
        addresses(json).iter().map(ToString::to_string).collect()
    }

    const CANDIDATE: &str = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.5 rport 46154 \
         generation 0 ufrag 4ZcD network-cost 999";

    #[test]
    fn a_candidates_address_is_found_in_whatever_it_is_wrapped_and_its_related_one_is_not() {
        let object =
            json!({"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "4ZcD"});
        for json in [
            object.to_string(),
            json!(CANDIDATE).to_string(),
            json!(format!("a={CANDIDATE}")).to_string(),
            json!({"type": "candidate", "candidate": object}).to_string(),
            // Written as JSON twice.
            json!(object.to_string()).to_string(),
            serde_json::to_string_pretty(&object).unwrap(),
        ] {
            assert_eq!(found(&json), ["203.0.113.7"], "{json}");
        }
    }

    #[test]
    fn candidates_of_every_type_and_family_count() {
        for (words, address) in [
            ("1 1 UDP 1 192.168.1.5 9 typ host", "192.168.1.5"),
            ("1 1 tcp 1518280447 192.168.1.5 9 typ host tcptype active", "192.168.1.5"),
            ("1 1 udp 1 2001:db8::5 4000 typ prflx", "2001:db8::5"),
            ("1 1 udp 1 198.51.100.4 50000 typ relay raddr 0.0.0.0 rport 0", "198.51.100.4"),
            ("1 1 udp 1 ::ffff:198.51.100.4 50000 typ relay", "198.51.100.4"),
        ] {
            assert_eq!(found(&format!("\"candidate:{words}\"")), [address]);
        }
    }

    #[test]
    fn what_is_no_address_is_passed_over() {
        for json in [
            "",
            "null",
            r#"{"candidate":"","sdpMid":"0"}"#,
            r#""candidate:1 1 udp 1 6f2c3d1e-0a2b-4c5d-8e9f-001122334455.local 9 typ host""#,
            r#""candidate:1 1 udp 1 203.0.113.7 9 type host""#,
            r#""candidate:1 1 udp 203.0.113.7 9 typ host""#,
            r#""candidate:1 1 udp 1 0.0.0.0 9 typ host""#,
            r#""candidate:1 1 udp 1 fe80::1%eth0 9 typ host""#,
            r#""candidate:1 1 udp 1 203.0.113.7 9""#,
            r#""candidate:""#,
            r#""raddr 203.0.113.7""#,
            r#""v=0\r\no=- 1 2 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 0.0.0.0\r\n""#,
            r#""c=IN IP4 127.0.0.1\r\nc=IN IP6 ::1\r\nc=IN IP6 ::\r\nc=IN IP4 \r\nc=IN IP4""#,
        ] {
            assert_eq!(found(json), Vec::<String>::new(), "{json}");
        }
    }

    #[test]
    fn a_description_has_connection_lines_and_candidates() {
        let sdp = "v=0\r\no=- 46117317 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 49203 UDP/TLS/RTP/SAVPF 111\r\n\
                   c=IN IP4 203.0.113.7\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
                   a=candidate:1 1 udp 2122260223 192.168.1.5 49203 typ host generation 0\r\n\
                   a=candidate:2 1 udp 2122260223 2001:db8::5 49203 typ host\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                   m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP6 2001:db8::9\r\nc=IN IP4 203.0.113.7/127\r\n";
        let json = json!({"type": "offer", "sdp": sdp}).to_string();
        assert_eq!(found(&json), ["192.168.1.5", "2001:db8::5", "203.0.113.7", "2001:db8::9"]);
    }

    #[test]
    fn no_more_are_taken_than_may_and_each_once() {
        let line = |n: usize| format!("a=candidate:1 1 udp 1 10.0.{}.{} 9 typ host\\r\\n", n / 256, n % 256);
        let json = format!("\"{}\"", (0..1000).map(|n| line(n) + &line(n)).collect::<String>());
        let all = addresses(&json);
        assert_eq!(all.len(), MOST);
        assert_eq!(all[MOST - 1].to_string(), "10.0.0.31");
    }

    #[test]
    fn a_text_made_to_be_slow_is_not() {
        let begun = std::time::Instant::now();
        for piece in ["candidate:", "candidate: ", "c=IN IP4 ", "c=IN IP4 1.1.1.1", ":", "="] {
            assert!(addresses(&piece.repeat((4 << 20) / piece.len())).len() <= 1);
        }
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn anything_can_be_searched(json in "\\PC{0,40}(candidate:|c=IN IP4 |c=IN IP6 )?[0-9a-f .:\\\\typhosé]{0,300}") {
            prop_assert!(addresses(&json).len() <= MOST);
        }

        #[test]
        fn what_parses_is_found_and_nothing_else(word in "[0-9a-f.:]{1,12}|[0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,8}") {
            let expected: Option<IpAddr> = word.parse().ok();
            let expected = expected.map(|it| it.to_canonical()).filter(|it| !it.is_unspecified());
            let candidate = addresses(&format!("\"candidate:1 1 udp 1 {word} 9 typ host\""));
            prop_assert_eq!(candidate.first().copied(), expected);
            let line = addresses(&format!("\"s=-\\r\\nc=IN IP4 {word}\\r\\n\""));
            prop_assert_eq!(line.first().copied(), expected.filter(|it| !it.is_loopback()));
        }

        #[test]
        fn every_address_is_found(bits: u128, short: u32) {
            for address in [IpAddr::from(bits.to_be_bytes()), IpAddr::from(short.to_be_bytes())] {
                let wanted = address.to_canonical();
                prop_assume!(!wanted.is_unspecified());
                let json = format!("{{\"candidate\":\"candidate:1 1 udp 1 {address} 9 typ host\"}}");
                prop_assert_eq!(addresses(&json).to_vec(), [wanted]);
            }
        }
    }
}
