//! MySQL: commands that come in, answers that go out.

mod sessions;

use aya_ebpf::{
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
    programs::{TcContext, XdpContext},
};
use foobar_common::{
    counters::SERVICE_SLOTS,
    flow::Direction,
    mysql::{Answered, Asked, Commands, REPLICAS_MAX, ReplicaKey, Replies, Session},
    service::{Loss, MysqlCounters},
    stream::{Followed, Reader as _},
};

use self::sessions::Prepared;
pub(super) use self::sessions::forget;
use super::{
    lock,
    passage::Passage,
    proxy::{self, Begins},
    segment::{Belongs, Segment, WINDOW_MAX},
    stream::follow,
};

#[btf_map]
static MYSQL_COUNTERS: PerCpuArray<MysqlCounters, { SERVICE_SLOTS as usize }> = PerCpuArray::new();
/// When something last went to each replica, in nanoseconds of the kernel's monotonic clock.
#[btf_map]
static MYSQL_REPLICAS: LruHashMap<ReplicaKey, u64, { REPLICAS_MAX as usize }> = LruHashMap::new();

/// Reads the commands in a segment that comes in.
#[inline(always)]
pub(crate) fn commands(context: &XdpContext) -> Option<()> {
    let segment = Segment::of(context, Direction::In)?;
    let counters = counters(Direction::In)?;
    if segment.is_reset() {
        return Some(());
    }
    if segment.brings_cookie(|| sessions::find(&segment.key).is_some(), context) {
        sessions::open(&segment.answered(), Direction::In);
    }
    if segment.length == 0 {
        if segment.is_last() {
            forget_replica(&segment, Direction::In);
        }
        return Some(());
    }
    if segment.is_first() {
        counters.lost.count(Direction::In, Loss::SynData);
        Passage::lose(Direction::In, segment.length);
        return Some(());
    }
    let Some(session) = sessions::find(&segment.key) else {
        Passage::lose(Direction::In, segment.length);
        return Some(());
    };
    let Sides { inbound, asked, answered, .. } = Sides::of(session);
    if !lock::take(&inbound.lock) {
        return busy(Direction::In, counters, &segment);
    }
    // SAFETY: the map gave the pointer. This half is written by this direction alone, under its lock.
    let client = unsafe { &mut (*session).client };
    let statements = Prepared::<false>;
    let mut commands = Commands { client, asked, answered, counters, statements, now: now() };
    // SAFETY: the map gave the pointer, and the number never changes.
    let first = unsafe { (*session).first };
    let service = Passage::service(Direction::In)?;
    match proxy::client_begins(&segment, service, inbound.next.get(), first, context) {
        Begins::At(next) => inbound.next.set(next),
        Begins::Untold => commands.lose(Loss::Proxy),
        Begins::Refused => {
            lock::give_back(&inbound.lock);
            return None;
        }
    }
    follow(&segment, first, inbound, commands, context);
    lock::give_back(&inbound.lock);
    Some(())
}

/// Reads the answers in a segment that goes out.
#[inline(always)]
pub(crate) fn replies(context: &TcContext) -> Option<()> {
    let segment = Segment::of(context, Direction::Out)?;
    let counters = counters(Direction::Out)?;
    if segment.is_reset() {
        return Some(());
    }
    // SAFETY: the map gave the pointer, and the number never changes.
    let first = |found: &*mut Session| unsafe { (**found).first };
    let session = match segment.belongs_to(sessions::find(&segment.key), first) {
        Belongs::Known(session) => session,
        Belongs::Opens => {
            proxy::forget_client(&segment);
            return sessions::open(&segment, Direction::Out);
        }
        Belongs::Preexisting => {
            for direction in Direction::ALL {
                counters.lost.count(direction, Loss::Preexisting);
            }
            Passage::lose(Direction::Out, segment.length);
            return sessions::open_lost(&segment);
        }
        Belongs::Nowhere => return Some(()),
    };
    note_accepted(session, counters, segment.acknowledged());
    let Sides { outbound, asked, answered, .. } = Sides::of(session);
    if asked.is_replica.get() != 0 {
        note_replica(&segment);
    }
    if !lock::take(&outbound.lock) {
        return busy(Direction::Out, counters, &segment);
    }
    // SAFETY: the map gave the pointer. This half is written by this direction alone, under its lock.
    let server = unsafe { &mut (*session).server };
    let statements = Prepared::<true>;
    let replies = Replies { server, asked, answered, counters, statements, now: now() };
    // SAFETY: as above.
    let first = unsafe { (*session).first };
    follow(&segment, first, outbound, replies, context);
    lock::give_back(&outbound.lock);
    Some(())
}

/// What both directions look at of a session: cells.
#[derive(Clone, Copy)]
struct Sides {
    inbound: &'static Followed,
    outbound: &'static Followed,
    asked: &'static Asked,
    answered: &'static Answered,
}

impl Sides {
    #[inline(always)]
    fn of(session: *mut Session) -> Self {
        Self {
            // SAFETY: the map gave the pointer, and all bytes of the cells are valid at any time.
            inbound: unsafe { &(*session).inbound },
            // SAFETY: as above.
            outbound: unsafe { &(*session).outbound },
            // SAFETY: as above.
            asked: unsafe { &(*session).asked },
            // SAFETY: as above.
            answered: unsafe { &(*session).answered },
        }
    }
}

/// The server says what it has accepted. If that is more than came by, commands can have been missed.
#[inline(always)]
fn note_accepted(session: *mut Session, counters: &mut MysqlCounters, acknowledged: u32) {
    let Sides { inbound, asked, answered, .. } = Sides::of(session);
    let missed = acknowledged.wrapping_sub(inbound.next.get());
    // A FIN counts as one byte, which nobody reads.
    if missed <= 1 || missed >= WINDOW_MAX || asked.is_lost.get() != 0 || answered.unseen.get() != 0 {
        return;
    }
    // SAFETY: the map gave the pointer. All bytes of it are valid at any time, and it is only looked at.
    if !unsafe { &(*session).client }.can_miss(u64::from(missed)) {
        answered.unseen.set(1);
        counters.lost.count(Direction::In, Loss::Unseen);
    }
}

/// Something goes to a replica.
#[inline(always)]
fn note_replica(segment: &Segment) {
    if segment.is_last() {
        forget_replica(segment, Direction::Out);
    } else if let Some(service) = Passage::service(Direction::Out) {
        let key = ReplicaKey { connection: segment.key, service: u64::from(service) };
        // If it fails, the next segment tries again.
        let _kept: Result<(), i32> = MYSQL_REPLICAS.insert(key, now(), 0);
    }
}

/// A connection ends, which may be one to a replica.
#[inline(always)]
fn forget_replica(segment: &Segment, direction: Direction) {
    if let Some(service) = Passage::service(direction) {
        let key = ReplicaKey { connection: segment.key, service: u64::from(service) };
        // Most are none.
        let _there: Result<(), i32> = MYSQL_REPLICAS.remove(key);
    }
}

/// Another processor is at the session for too long.
#[inline(always)]
fn busy(direction: Direction, counters: &mut MysqlCounters, segment: &Segment) -> Option<()> {
    counters.lost.count(direction, Loss::Busy);
    Passage::lose(direction, segment.length);
    None
}

/// The counters of the packet's service.
#[inline(always)]
fn counters(direction: Direction) -> Option<&'static mut MysqlCounters> {
    let place = MYSQL_COUNTERS.get_ptr_mut(Passage::service(direction)?)?;
    // SAFETY: the map gave the pointer, and an entry of a per-CPU array is this processor's alone while the program
    // runs, but for a program of the other direction that interrupts it and counts elsewhere in it.
    Some(unsafe { &mut *place })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: a helper that only reads a clock (Linux 4.1).
    unsafe { bpf_ktime_get_ns() }
}
