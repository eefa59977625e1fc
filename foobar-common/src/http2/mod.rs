//! HTTP/2 in the clear (RFC 9113), as far as it tells what is asked for and what comes of it.
//!
//! A connection begins as one of HTTP/1.x: what a client of HTTP/2 sends first can be read as the first line of a request,
//! and one that asks to go on in HTTP/2 sends a request before that ([`crate::http1::State::Http2`]). From there on,
//! [`Messages`] of [`Client`] and [`Server`] read the two sides of an [`Http2Connection`], in any portions. A request is a HEADERS
//! frame on a stream that is higher than all before, a response one that has a status; both are counted where their
//! header fields end, with all that continues them.

mod connection;
mod fields;
mod frames;
mod huffman;
mod meaning;
mod messages;

pub use self::{
    connection::{HTTP2_CONNECTIONS_MAX, Http2Connection, STREAMS_TIMED, Shared, Side},
    fields::{ENTRIES, Fields},
    frames::Frames,
    messages::{Client, Messages, Server},
};
