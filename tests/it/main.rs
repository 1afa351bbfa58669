//! The integration tests: one binary, one module a subject.
// A test that cannot go on should say so with a panic; clippy's own exception covers test functions only, not their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod config;
mod daemon;
mod gate;
mod http;
mod imports;
mod readme;
mod relay;
mod reload;
mod rest;
mod signaling;
mod support;
mod turn_client;
mod webhooks;
