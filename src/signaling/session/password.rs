//! Passwords of rooms: hashed by argon2, which is slow on purpose, on threads of its own and a few at a time.

use std::sync::Arc;
use std::thread;

use argon2::Argon2;
use argon2::PasswordHash;
use argon2::PasswordHasher;
use argon2::PasswordVerifier;
use argon2::password_hash::SaltString;
use uuid::Uuid;

use super::super::error::Code;
use super::super::error::Failure;
use super::super::error::LATER;
use crate::turns::NotDone;
use crate::turns::Turns;

/// How many are hashed at a time: each takes 19 MiB and a core for some 30 ms. One where there are two cores or fewer: the other is
/// everybody's.
const AT_ONCE: usize = 2;
const CORES: usize = 2;

/// How many more may wait for that: some four seconds' worth of one core.
const WAITING: usize = 128;

/// The longest password, in bytes.
const LONGEST: usize = 256;

/// Hashes passwords.
pub(in crate::signaling) struct Passwords(Turns);

impl Default for Passwords {
    fn default() -> Passwords {
        let many = thread::available_parallelism().is_ok_and(|cores| cores.get() > CORES);
        Passwords(Turns::new(if many { AT_ONCE } else { 1 }, WAITING))
    }
}

impl Passwords {
    /// Its hash, in the PHC string format.
    pub(in crate::signaling) async fn hash(&self, password: &str) -> Result<Arc<str>, Failure> {
        let password = bounded(password)?;
        let hash = move || {
            // 16 random bytes.
            let salt = SaltString::encode_b64(Uuid::new_v4().as_bytes()).ok()?;
            Some(Argon2::default().hash_password(password.as_bytes(), &salt).ok()?.to_string())
        };
        let hash = self.run(hash).await?;
        hash.map(Arc::from).ok_or_else(|| Failure::new(Code::Internal, "the password cannot be hashed"))
    }

    /// Whether it is the one of this hash.
    pub(in crate::signaling) async fn is_right(
        &self,
        password: &str,
        hash: &Arc<str>,
    ) -> Result<bool, Failure> {
        let (password, hash) = (bounded(password)?, Arc::clone(hash));
        self.run(move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        self.0.run(work).await.map_err(|why| match why {
            NotDone::Full => Failure::too_many(LATER, "too many passwords are being looked at"),
            NotDone::Broken => Failure::new(Code::Internal, "passwords cannot be looked at"),
        })
    }
}

fn bounded(password: &str) -> Result<String, Failure> {
    if password.len() > LONGEST {
        return Err(Failure::bad(format!("a password is at most {LONGEST} bytes long")));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_password_opens_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash("open sesame").await.unwrap();
        assert!(hash.starts_with("$argon2id$") && !hash.contains("sesame"));
        assert_ne!(passwords.hash("open sesame").await.unwrap(), hash, "salted");
        assert!(passwords.is_right("open sesame", &hash).await.unwrap());
        assert!(!passwords.is_right("open sesam", &hash).await.unwrap());
        assert!(!passwords.is_right("open sesame", &"not a hash".into()).await.unwrap());
        assert!(passwords.hash(&"x".repeat(LONGEST + 1)).await.is_err());
    }

    #[tokio::test]
    async fn beyond_so_many_in_line_one_is_told_when_to_come_again() {
        let passwords = Arc::new(Passwords::default());
        let all: Vec<_> = (0..AT_ONCE + WAITING + 50)
            .map(|_| {
                let passwords = Arc::clone(&passwords);
                // What is no hash takes no time, but has to wait like any other.
                tokio::spawn(async move { passwords.is_right("open sesame", &"not a hash".into()).await })
            })
            .collect();
        let mut refused = 0;
        for one in all {
            match one.await.unwrap() {
                Ok(right) => assert!(!right),
                Err(failure) => {
                    assert_eq!((failure.code, failure.retry_after), (Code::TooManyRequests, Some(LATER)));
                    refused += 1;
                }
            }
        }
        // Those whose turn it was may have been done by then.
        assert!(refused >= 50 - AT_ONCE, "{refused}");
        assert_eq!(passwords.is_right("open sesame", &"not a hash".into()).await, Ok(false));
    }
}
