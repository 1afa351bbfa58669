//! Rates that a client may not go beyond in the long run, however it comes: a leaky bucket, a table of those who have one, and the
//! two together for whoever is counted one by one. No clock: the time comes in.

mod bucket;
mod table;
mod throttle;

pub use bucket::Bucket;
pub use bucket::SECOND;
pub use bucket::Ticks;
pub use bucket::every;
pub use bucket::ticks;
pub use table::Table;
pub use throttle::Throttle;
