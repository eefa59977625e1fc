//! Empty on purpose: the daemon depends on this library so that cargo rebuilds the programs when they change.
#![no_std]
