//! The live page: what it tells, whom, and how it looks in a browser.

mod answers;
mod browser;
mod pictures;
mod site;
mod stream;
mod telling;
