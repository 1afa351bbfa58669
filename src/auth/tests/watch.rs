//! The file of keys, which changes under a running daemon; and the cookie.

use std::fs;

use http::HeaderMap;
use http::HeaderValue;
use http::header;
use serde_json::json;

use super::signer::Issuer;
use super::signer::SECRET;
use super::signer::auth;
use super::signer::by_secret;
use super::signer::good;
use super::signer::hs256;
use super::signer::verify;
use crate::auth::Keyring;
use crate::auth::Tokens;
use crate::config::Auth;

#[test]
fn a_changed_set_is_taken_once_it_is_at_rest_and_a_bad_one_never() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    fs::write(&path, old.jwks().to_string()).unwrap();
    let settings = Auth { jwks: Some(path.clone()), ..auth(&format!("key = \"{SECRET}\"")) };
    let tokens = Tokens::new(Keyring::read(&settings).unwrap());
    let [by_old, by_new] = [&old, &new].map(|issuer| issuer.token(&json!({"alg": "ES256"}), &good()));
    let opens = || (verify(&tokens, &by_old).is_ok(), verify(&tokens, &by_new).is_ok());
    assert!(tokens.look().is_none());
    assert_eq!(opens(), (true, false));
    for bad in ["", "{", "{\"keys\":[]}", &new.jwks().to_string()[..100]] {
        fs::write(&path, bad).unwrap();
        assert!(tokens.look().is_none(), "it may still be written");
        let error = tokens.look().unwrap().unwrap_err();
        assert!(error.key == "auth.jwks" && error.what.contains("jwks.json"), "{error}");
        assert!(tokens.look().is_none(), "said once");
        assert_eq!(opens(), (true, false), "{bad}");
    }
    fs::remove_file(&path).unwrap();
    assert!(tokens.look().is_none());
    assert!(tokens.look().unwrap().is_err());
    assert_eq!(opens(), (true, false));
    // Renamed into place, as it should be.
    fs::write(folder.path().join("new"), new.jwks().to_string()).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    assert!(tokens.look().is_none());
    tokens.look().unwrap().unwrap();
    assert_eq!(opens(), (false, true));
    assert!(tokens.look().is_none());
    // The other key is as it was.
    assert!(verify(&tokens, &hs256(&json!({"alg": "HS256"}), &good())).is_ok());
}

#[test]
fn the_cookie_of_that_name_holds_the_token() {
    let tokens = by_secret("cookie = \"session\"");
    let found = |cookies: &[&str]| {
        let headers: HeaderMap =
            cookies.iter().map(|text| (header::COOKIE, HeaderValue::from_str(text).unwrap())).collect();
        tokens.in_cookie(&headers).map(str::to_owned)
    };
    assert_eq!(found(&["session=a.b.c"]).as_deref(), Some("a.b.c"));
    assert_eq!(found(&["theme=dark; session=a.b.c; x=1"]).as_deref(), Some("a.b.c"));
    assert_eq!(found(&["x=1", " session=\"a.b.c\""]).as_deref(), Some("a.b.c"));
    assert_eq!(found(&["session=first; session=second"]).as_deref(), Some("first"));
    for none in ["", "session", "session=", "sessions=a.b.c", "Session=a.b.c", "x=session=a.b.c"] {
        assert_eq!(found(&[none]), None, "{none}");
    }
    let off = by_secret("");
    let headers: HeaderMap =
        [(header::COOKIE, HeaderValue::from_static("session=a.b.c"))].into_iter().collect();
    assert_eq!(off.in_cookie(&headers), None);
}
