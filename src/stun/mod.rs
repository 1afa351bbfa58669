//! STUN (RFC 8489) on borrowed bytes: what strangers send and what the data path needs, without allocating.
