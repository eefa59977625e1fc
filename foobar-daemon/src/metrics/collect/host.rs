//! The health of the machine.

use foobar_common::flow::Direction;
use prometheus::proto::MetricFamily;

use super::{catalogue, counted};
use crate::host::{Disk, FileSystem, Interface, Processors, Readings, Tcp};

/// What is read and what is written.
const OPERATIONS: [&str; 2] = ["read", "write"];

pub(super) fn families(readings: &Readings, families: &mut Vec<MetricFamily>) {
    let Readings { processors, memory, load, file_systems, disks, interfaces, tcp, problems: _ } = readings;
    if let Some(Processors { number, seconds, started }) = processors {
        let mut spent = catalogue::HOST_CPU.family();
        for (mode, seconds) in seconds {
            spent.add([mode], *seconds);
        }
        families.push(spent.into_proto());
        families.push(counted(catalogue::HOST_CPUS, *number as u64));
        families.push(counted(catalogue::HOST_STARTED, *started));
    }
    let mut bytes = catalogue::HOST_MEMORY.family();
    for (part, number) in memory {
        bytes.add_integer([part], *number);
    }
    let mut average = catalogue::HOST_LOAD.family();
    for (span, load) in ["1m", "5m", "15m"].into_iter().zip(load.iter().flatten()) {
        average.add([span], *load);
    }
    families.extend([bytes.into_proto(), average.into_proto()]);
    file_system_families(file_systems, families);
    disk_families(disks, families);
    interface_families(interfaces, families);
    if let Some(Tcp { sent, repeated, overflows, turned_away }) = tcp {
        families.extend([
            counted(catalogue::HOST_TCP_SENT, *sent),
            counted(catalogue::HOST_TCP_REPEATED, *repeated),
            counted(catalogue::HOST_LISTEN_OVERFLOWS, *overflows),
            counted(catalogue::HOST_LISTEN_DROPS, *turned_away),
        ]);
    }
}

fn file_system_families(found: &[FileSystem], families: &mut Vec<MetricFamily>) {
    let mut sizes = catalogue::HOST_FILE_SYSTEM_SIZE.family();
    let mut available = catalogue::HOST_FILE_SYSTEM_AVAILABLE.family();
    let mut files = catalogue::HOST_FILE_SYSTEM_FILES.family();
    let mut files_free = catalogue::HOST_FILE_SYSTEM_FILES_FREE.family();
    for one in found {
        sizes.add_integer([&one.path], one.size);
        available.add_integer([&one.path], one.available);
        files.add_integer([&one.path], one.files);
        files_free.add_integer([&one.path], one.files_free);
    }
    families.extend([
        sizes.into_proto(),
        available.into_proto(),
        files.into_proto(),
        files_free.into_proto(),
    ]);
}

fn disk_families(disks: &[Disk], families: &mut Vec<MetricFamily>) {
    let mut moved = catalogue::HOST_DISK_BYTES.family();
    let mut done = catalogue::HOST_DISK_OPERATIONS.family();
    let mut busy = catalogue::HOST_DISK_BUSY.family();
    for Disk { name, bytes, operations, busy: seconds } in disks {
        for (op, (bytes, operations)) in OPERATIONS.into_iter().zip(bytes.iter().zip(operations)) {
            moved.add_integer([name, op], *bytes);
            done.add_integer([name, op], *operations);
        }
        busy.add([name], *seconds);
    }
    families.extend([moved.into_proto(), done.into_proto(), busy.into_proto()]);
}

fn interface_families(interfaces: &[Interface], families: &mut Vec<MetricFamily>) {
    let mut wrong = catalogue::HOST_INTERFACE_ERRORS.family();
    let mut dropped = catalogue::HOST_INTERFACE_DROPS.family();
    for Interface { name, errors, drops } in interfaces {
        for (direction, (errors, drops)) in Direction::ALL.into_iter().zip(errors.iter().zip(drops)) {
            wrong.add_integer([name, direction.label()], *errors);
            dropped.add_integer([name, direction.label()], *drops);
        }
    }
    families.extend([wrong.into_proto(), dropped.into_proto()]);
}
