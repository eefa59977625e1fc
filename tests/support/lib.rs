//! What the tests of this package share: network namespaces, packets, and a real foobar to send them through.
//!
//! Everything that a test makes is gone when its value is dropped, also when the test fails. Network namespaces
//! have no names: they live as long as a file of the test process is open, so not even a killed test leaves one.

pub mod authority;
pub mod binary;
pub mod bpffs;
pub mod browser;
pub mod classbench;
pub mod command;
pub mod curl;
pub mod daemon;
pub mod database;
pub mod datagram_model;
pub mod edges;
pub mod etcd;
pub mod figures;
pub mod flow_model;
pub mod foreign;
pub mod frames;
pub mod generate;
pub mod haproxy;
pub mod headers;
pub mod http;
pub mod http1_client;
pub mod links;
pub mod metrics;
pub mod mixed;
pub mod name_server;
pub mod namespace;
pub mod network;
pub mod packets;
pub mod prometheus;
pub mod protobuf;
pub mod pushed;
pub mod random;
pub mod refusal;
pub mod rulesets;
pub mod segments;
pub mod sender;
pub mod service;
pub mod shapes;
pub mod slow_ring;
pub mod syns;
pub mod tap;
pub mod terminal;
pub mod tls;
pub mod wait;
pub mod web_server;
pub mod wire;
