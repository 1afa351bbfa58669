//! How a receiver knows that a message is ours, and not an old one sent again.

use std::fmt::Write as _;

use ring::hmac;
use secrecy::ExposeSecret;
use secrecy::SecretString;

/// Signs messages with the secret that the receiver has, too.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(secret: &SecretString) -> Signer {
        Signer(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()))
    }

    /// The value of the header: `t=<unix>,v1=<hex of HMAC-SHA256(secret, t "." body)>`. `unix`: in seconds, when it is sent.
    pub(super) fn header(&self, unix: u64, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        signed.update(unix.to_string().as_bytes());
        signed.update(b".");
        signed.update(body);
        let mut text = format!("t={unix},v1=");
        for byte in signed.sign().as_ref() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_programs_compute() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'hush-hush'
        let signer = Signer::new(&"hush-hush".into());
        assert_eq!(
            signer.header(1_700_000_000, b"{\"a\":1}"),
            "t=1700000000,v1=054aa57a468d16cd9b7ccbaf9e38759c4ebf4496a617c5d2cded7cd3a468a1c1"
        );
    }
}
