//! Which records user space may copy to and from maps as bytes.

use crate::{
    bans::{Ban, BanCounters, BanKey, BanLengths},
    classes::{Block, ClassBlocks, ClassHead, ClassWords, FirstRules, WordRules},
    connection::{ConnectionBytes, ConnectionKey, NameKey},
    counters::Counter,
    dns::DnsCounters,
    event::{EventCounters, EventReader},
    fields::{Root, Stride, Table},
    limit::{BucketKey, Limit},
    mysql::ReplicaKey,
    peers::PeerConnections,
    plaintext::WatchedProcess,
    proxy::ProxyCounters,
    raw::RawCounters,
    reject::AnswerBucket,
    rule::{DecisionRecord, Interfaces, Settings},
    service::{HttpCounters, MysqlCounters, ServiceBytes, ServiceSettings, TlsCounters},
    sets::Line,
    syn_cookies::{SynCounters, SynOffer},
    tracking::{FlowCounters, FlowKey, FlowKeyV4, TrackedFlow},
};

/// Each type is `repr(C)`, made of integers alone and free of padding, which `layout` tests.
macro_rules! pod {
    ($($record:ty),+) => {
        $(
            // SAFETY: every bit pattern is a valid value, and there is no padding to leak.
            unsafe impl aya::Pod for $record {}
        )+
    };
}

pod!(
    AnswerBucket,
    Ban,
    BanCounters,
    BanKey,
    BanLengths,
    Block,
    BucketKey,
    ClassBlocks,
    ClassHead,
    ClassWords,
    ConnectionBytes,
    ConnectionKey,
    Counter,
    DecisionRecord,
    DnsCounters,
    EventCounters,
    EventReader,
    FirstRules,
    FlowCounters,
    FlowKey,
    FlowKeyV4,
    HttpCounters,
    Interfaces,
    Limit,
    Line,
    MysqlCounters,
    NameKey,
    PeerConnections,
    ReplicaKey,
    Root,
    ProxyCounters,
    RawCounters,
    ServiceBytes,
    ServiceSettings,
    Settings,
    Stride,
    SynCounters,
    SynOffer,
    Table,
    TlsCounters,
    TrackedFlow,
    WatchedProcess,
    WordRules
);
