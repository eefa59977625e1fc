//! What the tests of foobar share.

pub mod generate;
pub mod packets;
pub mod rulesets;
