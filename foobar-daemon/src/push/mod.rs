//! The monitoring client: sends the series of `/metrics` to services, as a push file says.
//!
//! Once for each interval everything is gathered, as a scrape does it (`encode::Gathered`), put into the words of each
//! target that it is time for (`encode`), and written into the spool of that target (`spool`). A task for each target takes
//! from its spool, in order, and sends until the target has taken it (`sender`, `client`). So nothing is lost when a target
//! is away or the daemon is killed, as long as the spool has room, and no target waits for another.

pub mod answers;
pub mod client;
pub mod encode;
pub mod file;
pub mod live;
pub mod logs;
pub mod pace;
pub mod record;
pub mod secret;
pub mod sender;
pub mod series;
pub mod spool;
pub mod stats;
pub mod trial;
pub mod worker;
