//! Which records user space may copy to and from maps as bytes.

use crate::{
    counters::Counter,
    rule::{Class, DecisionRecord, InterfaceRecord, RuleRecord, Settings, Table},
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

pod!(Class, Counter, DecisionRecord, InterfaceRecord, RuleRecord, Settings, Table);
