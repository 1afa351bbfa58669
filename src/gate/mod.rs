//! Every TCP port: accepts connections within limits, learns whose they are, ends TLS, sees what they speak, and hands them to
//! HTTP or to TURN. Every port speaks everything its TLS setting allows.

mod accept;
mod caller;
mod certificate;
mod listen;
mod open;
mod places;
mod proxy;
mod refusals;
mod serve;
mod stream;
mod tls;

pub use accept::Serving;
pub use caller::Caller;
pub use caller::TakeTurn;
pub use certificate::Certificate;
pub use certificate::CertificateError;
pub use listen::BindError;
pub use open::Gate;
pub use open::OpenError;
pub use open::overlap;
pub use places::Full;
pub use places::Place;
pub use places::Places;
pub use refusals::Refusals;
