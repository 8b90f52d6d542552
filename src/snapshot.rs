//! The slots that hold statuses: the current one, past ones that somebody still reads, and bodies on their way in or on
//! their way to the store.
//!
//! A body is received into a slot and that slot becomes the current snapshot when it is accepted, so a status is
//! never copied. The head of the response that carries it is put in front of it then, so that one call sends both. A
//! reader pins the slot it is sent from; a slot that is past and unpinned is free. Freed slots are used again last in,
//! first out: memory that was never needed is never touched.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::http::response::{Date, Rendered};
use crate::status::STATUS_CAPACITY;
use crate::text::hex;

/// How many bodies can be on their way in at once: a status comes in one piece, as a rule, and only torn ones wait for
/// each other. One more is taken before the slowest has to go, so that a body which comes at once never meets a full
/// house.
pub const BODIES_MAX: usize = 4;

/// How many past snapshots may stay for readers who have not finished; more, and the readers of the oldest have to go.
/// Each is a post that such a reader outlasts, so with a post a minute they have three minutes.
pub const PAST_MAX: usize = 3;

/// How many slots there are: one for the current status, one for each that can be taken beside it, and one for a status
/// that did not come as a body. There is always one for a body that may be received.
pub const SLOTS: usize = 1 + (BODIES_MAX + 1) + PAST_MAX + 1;
const _: () = assert!(SLOTS <= u8::MAX as usize);

/// One of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotId(u8);

/// How many bytes in front of a status the head of its response has: that is some 200 bytes.
pub const HEAD_ROOM: usize = 256;

/// What a slot is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Free,
    Body,
    /// A whole body that the store has.
    Lent,
    /// Holds a status that was published: the current one, or a past one that is pinned.
    Published,
}

/// A status, or room for one.
#[derive(Debug)]
pub struct Slot {
    used: Use,
    /// How many responses are being sent from it.
    pins: u16,
    /// When it was published, counted in publications.
    age: u64,
    etag: ETag,
    /// Where in `bytes` the response head for this status begins.
    head: usize,
    /// Where in it the date stands.
    date: usize,
    /// [`HEAD_ROOM`] bytes, at the end of which stands the head, and the status.
    bytes: heapless::Vec<u8, { HEAD_ROOM + STATUS_CAPACITY }>,
}

impl Slot {
    // All zeros, so that the slots lie in memory that exists only when it is written.
    const NEW: Slot = Slot {
        used: Use::Free,
        pins: 0,
        age: 0,
        etag: ETag([0; ETAG_LEN]),
        head: 0,
        date: 0,
        bytes: heapless::Vec::new(),
    };

    /// The status, byte for byte as it came.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(HEAD_ROOM..).unwrap_or_default()
    }

    /// The entity tag of the status.
    pub fn etag(&self) -> &ETag {
        &self.etag
    }

    /// The response head up to its date, as [`Snapshots::publish`] prepared it.
    pub fn begun_head(&self) -> &[u8] {
        &self.bytes[self.head..self.date]
    }

    /// The whole response, dated as [`Snapshots::pin_response`] was told.
    pub fn response(&self) -> &[u8] {
        &self.bytes[self.head..]
    }
}

/// Renders the response head for a status with this entity tag, with any date, and says where in it the date stands.
pub type Prepare = fn(&[u8], &ETag, &mut Rendered) -> usize;

/// How many slots are used for what, beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// For bodies on their way in or to the store.
    pub bodies: usize,
    /// For past statuses that somebody still reads.
    pub past: usize,
    /// For nothing.
    pub free: usize,
}

pub(crate) const ETAG_LEN: usize = 18;

/// A strong entity tag (RFC 9110 §8.8.3), quotes included.
///
/// It is SipHash-2-4 of the bytes with the key zero, in hexadecimal: the same for the same status on every replica
/// and after every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag([u8; ETAG_LEN]);

impl ETag {
    /// That of a status.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = SipHasher24::new();
        hasher.write(bytes);
        let mut tag = [b'"'; ETAG_LEN];
        tag[1..ETAG_LEN - 1].copy_from_slice(&hex(hasher.finish()));
        ETag(tag)
    }

    /// The tag as it stands in a field value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The tag without its quotes.
    pub fn hex(&self) -> &str {
        core::str::from_utf8(&self.0[1..ETAG_LEN - 1]).expect("digits are ASCII")
    }

    /// The tag whose [`hex`](Self::hex) this is.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let mut tag = [b'"'; ETAG_LEN];
        let fits =
            digits.len() == ETAG_LEN - 2 && digits.iter().all(|&digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| {
            tag[1..ETAG_LEN - 1].copy_from_slice(digits);
            ETag(tag)
        })
    }
}

/// All the slots.
#[derive(Debug)]
pub struct Snapshots {
    slots: [Slot; SLOTS],
    free: heapless::Vec<u8, SLOTS>,
    current: u8,
    /// How many slots hold bodies.
    bodies: u8,
    /// How many slots hold past snapshots.
    past: u8,
    publications: u64,
}

impl Snapshots {
    /// Slots without a status; [`start`](Self::start) has to come first.
    pub const fn new() -> Self {
        Snapshots {
            slots: [const { Slot::NEW }; SLOTS],
            free: heapless::Vec::new(),
            current: 0,
            bodies: 0,
            past: 0,
            publications: 0,
        }
    }

    /// Frees every slot and makes `first`, of at most [`STATUS_CAPACITY`] bytes, the current status. `prepare` is as for
    /// [`publish`](Self::publish).
    pub fn start(&mut self, first: &[u8], prepare: Prepare) {
        // What is free already is not written, for that would make its memory resident.
        for slot in self.slots.iter_mut().filter(|slot| slot.used != Use::Free) {
            slot.used = Use::Free;
            slot.pins = 0;
        }
        self.bodies = 0;
        self.past = 0;
        self.current = 0;
        self.free = (0..SLOTS as u8).rev().collect();
        self.load(first, prepare);
    }

    /// Makes `status`, of at most [`STATUS_CAPACITY`] bytes, the current one. It did not come as a body, and so there is
    /// always room for it. `prepare` is as for [`publish`](Self::publish).
    pub fn load(&mut self, status: &[u8], prepare: Prepare) {
        let slot = self.take().expect("a slot is kept for this");
        self.append(slot, status);
        self.publish(slot, prepare);
    }

    /// Takes a slot for a body, or `None` when [`BODIES_MAX`] and one more are taken. That one more has to be published
    /// or abandoned, or another one in its place, before the next: see [`is_crowded`](Self::is_crowded).
    pub fn reserve(&mut self) -> Option<SlotId> {
        if self.is_crowded() { None } else { self.take() }
    }

    fn take(&mut self) -> Option<SlotId> {
        let free = self.free.pop()?;
        self.bodies += 1;
        let slot = &mut self.slots[usize::from(free)];
        slot.used = Use::Body;
        slot.bytes.clear();
        slot.bytes.extend_from_slice(&[0; HEAD_ROOM]).expect("the capacity is more than that");
        Some(SlotId(free))
    }

    /// Whether there are more than [`BODIES_MAX`] bodies: one of them has to go.
    pub fn is_crowded(&self) -> bool {
        usize::from(self.bodies) > BODIES_MAX
    }

    /// Adds `bytes` to the body in `id`. The caller keeps within [`STATUS_CAPACITY`].
    pub fn append(&mut self, id: SlotId, bytes: &[u8]) {
        let slot = self.slot_mut(id);
        debug_assert_eq!(slot.used, Use::Body);
        slot.bytes.extend_from_slice(bytes).expect("the limit on bodies is at most the capacity");
    }

    /// Gives back the slot of a body that is not wanted, unless the store has it.
    pub fn abandon(&mut self, id: SlotId) {
        if self.slot(id).used == Use::Lent {
            return;
        }
        debug_assert_eq!(self.slot(id).used, Use::Body);
        self.bodies -= 1;
        self.release(id);
    }

    /// The store has this body now, which stays in its slot until it is [back](Self::take_back), whoever abandons it.
    pub fn lend(&mut self, id: SlotId) {
        debug_assert_eq!(self.slot(id).used, Use::Body);
        self.slot_mut(id).used = Use::Lent;
    }

    /// Whether the store has this body.
    pub fn is_lent(&self, id: SlotId) -> bool {
        self.slot(id).used == Use::Lent
    }

    /// Ends what [`lend`](Self::lend) began. The body has to be published or abandoned then.
    pub fn take_back(&mut self, id: SlotId) {
        debug_assert_eq!(self.slot(id).used, Use::Lent);
        self.slot_mut(id).used = Use::Body;
    }

    /// Makes the body in `id` the current status. What `prepare` renders has at most [`HEAD_ROOM`] bytes.
    pub fn publish(&mut self, id: SlotId, prepare: Prepare) {
        debug_assert_eq!(self.slot(id).used, Use::Body);
        self.bodies -= 1;
        self.publications += 1;
        let age = self.publications;
        let slot = self.slot_mut(id);
        slot.used = Use::Published;
        slot.age = age;
        slot.etag = ETag::of(slot.bytes());
        let mut head = Rendered::new();
        let date = prepare(slot.bytes(), &slot.etag, &mut head);
        slot.head =
            HEAD_ROOM.checked_sub(head.len()).expect("HEAD_ROOM has room for the longest head; a test renders it");
        slot.date = slot.head + date;
        slot.bytes[slot.head..HEAD_ROOM].copy_from_slice(&head);
        let past = SlotId(core::mem::replace(&mut self.current, id.0));
        if past == id {
            // The first one of all.
        } else if self.slot(past).pins == 0 {
            self.release(past);
        } else {
            self.past += 1;
        }
    }

    /// The current status.
    pub fn current(&self) -> &Slot {
        &self.slots[usize::from(self.current)]
    }

    /// Keeps the current status in its slot until [`unpin`](Self::unpin).
    pub fn pin_current(&mut self) -> SlotId {
        let id = SlotId(self.current);
        self.slot_mut(id).pins += 1;
        id
    }

    /// The same for its whole [response](Slot::response), which has this date then. `None` where it has another one and
    /// somebody is being sent it, or may be: half of a date must not change.
    #[inline(always)]
    pub fn pin_response(&mut self, Date(date): &Date) -> Option<SlotId> {
        let slot = &mut self.slots[usize::from(self.current)];
        let place = &mut slot.bytes[slot.date..][..date.len()];
        if place != date {
            if slot.pins > 0 {
                return None;
            }
            place.copy_from_slice(date);
        }
        slot.pins += 1;
        Some(SlotId(self.current))
    }

    /// Ends what [`pin_current`](Self::pin_current) or [`pin_response`](Self::pin_response) began.
    pub fn unpin(&mut self, id: SlotId) {
        let current = self.current;
        let slot = self.slot_mut(id);
        slot.pins -= 1;
        if slot.pins == 0 && id.0 != current {
            self.past -= 1;
            self.release(id);
        }
    }

    /// The oldest past snapshot, when there are more than [`PAST_MAX`]: its readers have to go.
    #[inline(always)]
    pub fn overdue(&self) -> Option<SlotId> {
        if usize::from(self.past) <= PAST_MAX { None } else { self.oldest_past() }
    }

    #[inline(never)]
    fn oldest_past(&self) -> Option<SlotId> {
        let past =
            (0..SLOTS as u8).map(SlotId).filter(|id| id.0 != self.current && self.slot(*id).used == Use::Published);
        past.min_by_key(|id| self.slot(*id).age)
    }

    /// What the slots are used for.
    pub fn usage(&self) -> Usage {
        Usage { bodies: self.bodies.into(), past: self.past.into(), free: self.free.len() }
    }

    /// The slot of that name.
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[usize::from(id.0)]
    }

    fn slot_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[usize::from(id.0)]
    }

    fn release(&mut self, id: SlotId) {
        self.slot_mut(id).used = Use::Free;
        self.free.push(id.0).expect("a slot is freed once");
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Of a head, only the date matters here.
    fn prepare(_: &[u8], _: &ETag, out: &mut Rendered) -> usize {
        *out = Rendered::from_slice(&Date::BLANK.0).unwrap();
        0
    }

    fn post(snapshots: &mut Snapshots, status: &[u8]) {
        let slot = snapshots.reserve().expect("a body slot is free");
        snapshots.append(slot, status);
        snapshots.publish(slot, prepare);
    }

    #[test]
    fn a_pinned_snapshot_stays_whole_while_others_are_published() {
        static SLOTS: Mutex<Snapshots> = Mutex::new(Snapshots::new());
        let mut snapshots = SLOTS.lock().unwrap();
        snapshots.start(b"0", prepare);
        let pinned = snapshots.pin_current();
        for _ in 0..100 {
            post(&mut snapshots, b"1");
        }
        assert_eq!(snapshots.slot(pinned).bytes(), b"0");
        assert_eq!(snapshots.current().bytes(), b"1");
        assert_eq!(snapshots.overdue(), None);
        snapshots.unpin(pinned);
        assert_eq!(snapshots.free.len(), super::SLOTS - 1);
    }

    #[test]
    fn there_is_a_slot_for_every_body_and_the_readers_of_the_oldest_status_go_first() {
        static SLOTS: Mutex<Snapshots> = Mutex::new(Snapshots::new());
        let mut snapshots = SLOTS.lock().unwrap();
        snapshots.start(b"0", prepare);
        let mut pins = std::vec::Vec::new();
        for _ in 0..PAST_MAX {
            pins.push(snapshots.pin_current());
            post(&mut snapshots, b"x");
            assert_eq!(snapshots.overdue(), None);
        }
        let bodies: std::vec::Vec<_> = core::iter::from_fn(|| snapshots.reserve()).collect();
        assert_eq!(bodies.len(), BODIES_MAX + 1);
        assert!(snapshots.is_crowded());
        pins.push(snapshots.pin_current());
        snapshots.publish(bodies[0], prepare);
        assert_eq!(snapshots.overdue(), Some(pins[0]));
        snapshots.unpin(pins[0]);
        assert_eq!(snapshots.overdue(), None);
        assert!(!snapshots.is_crowded());
        assert!(snapshots.reserve().is_some());
        assert!(snapshots.reserve().is_none());
    }

    #[test]
    fn a_response_that_may_be_on_its_way_keeps_its_date() {
        static SLOTS: Mutex<Snapshots> = Mutex::new(Snapshots::new());
        let mut snapshots = SLOTS.lock().unwrap();
        snapshots.start(b"0", prepare);
        let [early, late] = [Date([b'1'; 29]), Date([b'2'; 29])];
        let dated = |date: &Date| [&date.0[..], b"0"].concat();
        let pinned = snapshots.pin_response(&early).unwrap();
        assert_eq!(snapshots.pin_response(&early), Some(pinned));
        assert_eq!(snapshots.pin_response(&late), None);
        assert_eq!(snapshots.slot(pinned).response(), dated(&early));
        snapshots.unpin(pinned);
        assert_eq!(snapshots.pin_response(&late), None);
        snapshots.unpin(pinned);
        assert_eq!(snapshots.pin_response(&late), Some(pinned));
        assert_eq!(snapshots.slot(pinned).response(), dated(&late));
    }

    #[test]
    fn an_entity_tag_depends_on_the_bytes_alone() {
        assert_eq!(ETag::of(b"{}"), ETag::of(b"{}"));
        assert_ne!(ETag::of(b"{}"), ETag::of(b"{ }"));
        // The empty input of the SipHash-2-4 of the reference implementation with the key zero.
        assert_eq!(ETag::of(b"").as_bytes(), b"\"1e924b9d737700d7\"");
    }
}
