//! A token or a key as the header `Authorization` bears it.

use http::HeaderMap;
use http::HeaderValue;
use http::header;

/// What it bears (RFC 6750, section 2.1): after the scheme and one space or more (RFC 9110, section 11.4). None: it is of another
/// scheme, or there is nothing.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)?;
    let (scheme, given) = given.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| given.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_comes_after_the_scheme_and_its_spaces() {
        for (header, expected) in [
            ("Bearer a-token", Some("a-token")),
            ("bearer a-token", Some("a-token")),
            ("BEARER   a-token ", Some("a-token")),
            ("Bearer a token", Some("a token")),
            ("Bearer ", Some("")),
            ("Bearer", None),
            ("Basic a-token", None),
            ("Bearera-token", None),
            ("", None),
        ] {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_static(header))].into_iter().collect();
            assert_eq!(bearer(&headers), expected.map(str::as_bytes), "{header:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
        let bytes = HeaderValue::from_bytes(b"Bearer caf\xE9").unwrap();
        assert_eq!(bearer(&[(header::AUTHORIZATION, bytes)].into_iter().collect()), Some(&b"caf\xE9"[..]));
    }
}
