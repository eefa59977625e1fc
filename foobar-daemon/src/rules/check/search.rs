//! Whether any packet of a box is decided by one of certain boxes.
//!
//! The box is cut along one side after the other into cells in which the same boxes are met. A cell that few
//! boxes meet is looked at first: it answers soonest if the answer is yes. If it is no, each cell has to be
//! looked at, but one of those that meet the same boxes is enough.

use std::collections::HashSet;

use super::{
    boxes::{ALL_SIDES, Boxes, Meeting, Point, SideBits},
    classes::Members,
    sides::SIDES,
    work::{TooMuch, Work},
};

/// A box that may decide packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Where it meets the box.
    pub(super) meeting: Meeting,
    /// Whether a packet is looked for that it decides.
    pub(super) is_wanted: bool,
}

/// Finds a packet of the box of this number that a wanted one of the candidates decides, which is the first that
/// has it; or one that no candidate has, if that is what is `otherwise` wanted.
pub(super) fn find(
    boxes: &Boxes,
    number: usize,
    candidates: &[Candidate],
    otherwise: bool,
    work: &mut Work,
) -> Result<Option<Point>, TooMuch> {
    let point = std::array::from_fn(|side| boxes.side(number, side).hull().0);
    let mut search = Search { boxes, number, point, work };
    let is_found = search.look(candidates, ALL_SIDES, otherwise)?;
    Ok(is_found.then_some(search.point))
}

struct Search<'a> {
    boxes: &'a Boxes,
    number: usize,
    /// Where the cell is, on the sides that it is cut on.
    point: Point,
    work: &'a mut Work,
}

/// Where a side begins or ends to meet a candidate, by its place in the list, or [`OWN`] is about the box itself.
type Turn = (u32, u32);
const OWN: u32 = u32::MAX;

impl Search<'_> {
    /// `open` are the sides on which the cell is still all that the box is.
    fn look(&mut self, candidates: &[Candidate], open: SideBits, otherwise: bool) -> Result<bool, TooMuch> {
        self.work.spend(candidates.len() + 1)?;
        let last = candidates.iter().position(|one| one.meeting.covers & open == open);
        let (candidates, otherwise) = match last {
            Some(last) => (&candidates[..last], candidates[last].is_wanted),
            None => (candidates, otherwise),
        };
        if !otherwise && candidates.iter().all(|one| !one.is_wanted) {
            return Ok(false);
        }
        if otherwise && candidates.iter().all(|one| one.is_wanted) {
            return Ok(true);
        }
        let cut = side_to_cut(candidates, open);
        let open = open & !(1 << cut);
        let turns = self.turns(candidates, cut)?;
        let Some(best) = best_cell(candidates, cut, &turns, otherwise) else {
            return Ok(false);
        };
        let here: Vec<Candidate> =
            candidates.iter().filter(|one| self.has(one, cut, best)).copied().collect();
        self.point[cut] = best;
        if self.look(&here, open, otherwise)? {
            return Ok(true);
        }
        let mut inside = Members::default();
        for place in covering(candidates, cut) {
            inside.turn(place);
        }
        let mut seen = HashSet::new();
        for here in turns.chunk_by(|one, two| one.0 == two.0) {
            for (_, who) in here {
                inside.turn(*who);
            }
            self.work.spend(here.len())?;
            // The box itself comes last.
            if inside.last() != Some(OWN) || !seen.insert(inside.signature()) {
                continue;
            }
            let met: Vec<Candidate> =
                inside.iter().filter_map(|place| candidates.get(place as usize)).copied().collect();
            self.point[cut] = here[0].0;
            if self.look(&met, open, otherwise)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has(&self, candidate: &Candidate, side: usize, at: u32) -> bool {
        candidate.meeting.covers >> side & 1 == 1
            || self.boxes.side(candidate.meeting.number, side).contains(at)
    }

    /// Where the side begins and ends to meet each candidate that does not cover it.
    fn turns(&mut self, candidates: &[Candidate], cut: usize) -> Result<Vec<Turn>, TooMuch> {
        let own = self.boxes.side(self.number, cut);
        let mut turns = Vec::new();
        let mut add = |ranges: &mut dyn Iterator<Item = (u32, u32)>, who: u32| {
            let before = turns.len();
            for (low, high) in ranges {
                turns.push((low, who));
                turns.extend(high.checked_add(1).map(|next| (next, who)));
            }
            self.work.spend(turns.len() - before)
        };
        add(&mut own.as_slice().iter().copied(), OWN)?;
        for (place, one) in (0..).zip(candidates) {
            if one.meeting.covers >> cut & 1 == 0 {
                add(&mut self.boxes.side(one.meeting.number, cut).common(own), place)?;
            }
        }
        turns.sort_unstable();
        Ok(turns)
    }
}

/// The side that most candidates do not cover.
fn side_to_cut(candidates: &[Candidate], open: SideBits) -> usize {
    let n_uncovering =
        |side: &usize| candidates.iter().filter(|one| one.meeting.covers >> side & 1 == 0).count();
    (0..SIDES).filter(|side| open >> side & 1 == 1).max_by_key(n_uncovering).unwrap_or(0)
}

/// A number in the cell that fewest candidates meet, among the cells that may have what is wanted.
fn best_cell(candidates: &[Candidate], cut: usize, turns: &[Turn], otherwise: bool) -> Option<u32> {
    let mut is_inside = vec![false; candidates.len()];
    let (mut n_met, mut n_wanted, mut is_own) = (0i64, i64::from(otherwise), false);
    for place in covering(candidates, cut) {
        n_wanted += i64::from(candidates[place as usize].is_wanted);
    }
    let mut best: Option<(i64, u32)> = None;
    for here in turns.chunk_by(|one, two| one.0 == two.0) {
        for (_, who) in here {
            let Some(is_inside) = is_inside.get_mut(*who as usize) else {
                is_own = !is_own;
                continue;
            };
            let change = if *is_inside { -1 } else { 1 };
            *is_inside = !*is_inside;
            n_met += change;
            n_wanted += change * i64::from(candidates[*who as usize].is_wanted);
        }
        if is_own && n_wanted > 0 && best.is_none_or(|(least, _)| n_met < least) {
            best = Some((n_met, here[0].0));
        }
    }
    best.map(|(_, at)| at)
}

/// The places of the candidates that cover this side.
fn covering(candidates: &[Candidate], side: usize) -> impl Iterator<Item = u32> + '_ {
    (0..).zip(candidates).filter(move |(_, one)| one.meeting.covers >> side & 1 == 1).map(|(place, _)| place)
}
