//! Error codes (RFC 8489, section 14.8; RFC 8656, section 19; RFC 6062, section 6.3; RFC 8016, section 3.5).

use webrtc_stun::error_code as e;

pub(super) const TRY_ALTERNATE: u16 = e::CODE_TRY_ALTERNATE.0;
pub(super) const BAD_REQUEST: u16 = e::CODE_BAD_REQUEST.0;
pub(super) const UNAUTHENTICATED: u16 = e::CODE_UNAUTHORIZED.0;
pub(super) const FORBIDDEN: u16 = e::CODE_FORBIDDEN.0;
pub(super) const UNKNOWN_ATTRIBUTE: u16 = e::CODE_UNKNOWN_ATTRIBUTE.0;
/// RFC 8016, section 3.5.
pub(super) const MOBILITY_FORBIDDEN: u16 = 405;
pub(super) const ALLOCATION_MISMATCH: u16 = e::CODE_ALLOC_MISMATCH.0;
pub(super) const STALE_NONCE: u16 = e::CODE_STALE_NONCE.0;
pub(super) const FAMILY_NOT_SUPPORTED: u16 = 440;
pub(super) const WRONG_CREDENTIALS: u16 = e::CODE_WRONG_CREDENTIALS.0;
pub(super) const UNSUPPORTED_TRANSPORT: u16 = e::CODE_UNSUPPORTED_TRANS_PROTO.0;
pub(super) const PEER_FAMILY_MISMATCH: u16 = 443;
/// RFC 6062, section 6.3.
pub(super) const CONNECTION_ALREADY_EXISTS: u16 = 446;
pub(super) const CONNECTION_TIMEOUT_OR_FAILURE: u16 = 447;
pub(super) const QUOTA_REACHED: u16 = e::CODE_ALLOC_QUOTA_REACHED.0;
pub(super) const INSUFFICIENT_CAPACITY: u16 = e::CODE_INSUFFICIENT_CAPACITY.0;

/// The reason phrase that the RFCs give.
pub(super) fn reason(code: u16) -> &'static str {
    match code {
        TRY_ALTERNATE => "Try Alternate",
        BAD_REQUEST => "Bad Request",
        UNAUTHENTICATED => "Unauthenticated",
        FORBIDDEN => "Forbidden",
        UNKNOWN_ATTRIBUTE => "Unknown Attribute",
        MOBILITY_FORBIDDEN => "Mobility Forbidden",
        ALLOCATION_MISMATCH => "Allocation Mismatch",
        STALE_NONCE => "Stale Nonce",
        FAMILY_NOT_SUPPORTED => "Address Family not Supported",
        WRONG_CREDENTIALS => "Wrong Credentials",
        UNSUPPORTED_TRANSPORT => "Unsupported Transport Protocol",
        PEER_FAMILY_MISMATCH => "Peer Address Family Mismatch",
        CONNECTION_ALREADY_EXISTS => "Connection Already Exists",
        CONNECTION_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
        QUOTA_REACHED => "Allocation Quota Reached",
        INSUFFICIENT_CAPACITY => "Insufficient Capacity",
        _ => "",
    }
}
