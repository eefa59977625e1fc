//! The boxes of one space, in the order in which packets meet them.

use std::{
    collections::HashMap,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use super::{
    index::Index,
    quiet::Quiet,
    ranges::Ranges,
    sides::{SIDES, Sides},
    work::{TooMuch, Work},
};

/// A packet: one number for each side.
pub(super) type Point = [u32; SIDES];

/// Sides, a bit for each.
pub(super) type SideBits = u16;

/// All of them.
pub(super) const ALL_SIDES: SideBits = (1 << SIDES) - 1;

/// A box that meets another one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    /// Its number.
    pub(super) number: usize,
    /// The sides on which it has all that the other has.
    pub(super) covers: SideBits,
}

impl Meeting {
    /// Whether it has all of the other.
    pub(super) fn covers_all(self) -> bool {
        self.covers == ALL_SIDES
    }
}

/// All boxes of a space. Sides that are the same are kept once.
#[derive(Debug)]
pub(super) struct Boxes {
    all: Vec<Placed>,
    sides: [Vec<Arc<Ranges>>; SIDES],
    index: [Index; SIDES],
    quiet: [Quiet; SIDES],
}

/// A box.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// What it is of.
    step: usize,
    /// Where its sides are.
    sides: [usize; SIDES],
    /// Their ends, which mostly tell enough.
    hulls: [(u32, u32); SIDES],
}

impl Boxes {
    /// Takes them with the numbers of the steps that they are of, in ascending order.
    pub(super) fn of(all: impl Iterator<Item = (usize, Sides)>) -> Self {
        let mut places: [HashMap<Arc<Ranges>, usize>; SIDES] = Default::default();
        let mut sides: [Vec<Arc<Ranges>>; SIDES] = Default::default();
        let mut boxes = Vec::new();
        for (step, of_step) in all {
            let hulls = of_step.each_ref().map(Ranges::hull);
            let mut new = Placed { step, sides: [0; SIDES], hulls };
            for (side, ranges) in of_step.into_iter().enumerate() {
                let next = sides[side].len();
                let ranges = Arc::new(ranges);
                new.sides[side] = *places[side].entry(Arc::clone(&ranges)).or_insert(next);
                if new.sides[side] == next {
                    sides[side].push(ranges);
                }
            }
            boxes.push(new);
        }
        let on = |side: usize| boxes.iter().map(move |one| one.sides[side]);
        let numbers: [usize; SIDES] = std::array::from_fn(|side| side);
        let index = numbers.map(|side| Index::of(&sides[side], on(side)));
        let quiet = numbers.map(|side| Quiet::of(&sides[side], on(side)));
        Self { all: boxes, sides, index, quiet }
    }

    /// The numbers of the boxes of these steps.
    pub(super) fn of_steps(&self, steps: Range<usize>) -> Range<usize> {
        let from = |step| self.all.partition_point(|one| one.step < step);
        from(steps.start)..from(steps.end)
    }

    /// The number of the box of a step.
    pub(super) fn of_step(&self, step: usize) -> Option<usize> {
        self.all.binary_search_by_key(&step, |one| one.step).ok()
    }

    /// The step that a box is of.
    pub(super) fn step(&self, number: usize) -> usize {
        self.all[number].step
    }

    /// What a box has on a side.
    pub(super) fn side(&self, number: usize, side: usize) -> &Ranges {
        &self.sides[side][self.all[number].sides[side]]
    }

    /// A packet that is in a box, and on each side in few others.
    pub(super) fn quiet_point(&self, number: usize) -> Point {
        std::array::from_fn(|side| self.quiet[side].quietest(self.side(number, side).as_slice()))
    }

    /// The same for what two boxes that meet have in common.
    pub(super) fn quiet_point_of_both(&self, one: usize, two: usize) -> Point {
        std::array::from_fn(|side| {
            let common: Vec<_> = self.side(one, side).common(self.side(two, side)).collect();
            self.quiet[side].quietest(&common)
        })
    }

    /// The first of some boxes that has this packet and is to be looked at.
    pub(super) fn first_at(
        &self,
        point: &Point,
        among: Range<usize>,
        is_looked_at: impl Fn(usize) -> bool,
        work: &mut Work,
    ) -> Result<Option<usize>, TooMuch> {
        let nodes = std::array::from_fn(|side| self.index[side].nodes(&[(point[side], point[side])]));
        visit(nodes, among, work, |number, _| {
            let has = || (0..SIDES).all(|side| self.side(number, side).contains(point[side]));
            Ok(if is_looked_at(number) && has() {
                ControlFlow::Break(number)
            } else {
                ControlFlow::Continue(())
            })
        })
    }

    /// Looks at each of some boxes that meets a box, in their order, until there is an answer.
    pub(super) fn meetings<T>(
        &self,
        with: usize,
        among: Range<usize>,
        work: &mut Work,
        mut look: impl FnMut(Meeting) -> ControlFlow<T>,
    ) -> Result<Option<T>, TooMuch> {
        let nodes = std::array::from_fn(|side| self.index[side].nodes(self.side(with, side).as_slice()));
        visit(nodes, among, work, |number, work| {
            if number == with || !self.meet(number, with, work)? {
                return Ok(ControlFlow::Continue(()));
            }
            Ok(look(Meeting { number, covers: self.covers(number, with) }))
        })
    }

    /// Whether each of two boxes that meet has something on one side that the other has not: two lists or ranges
    /// that run into each other, as against an exception and its general rule.
    pub(super) fn run_into_each_other(&self, one: Meeting, two: usize) -> bool {
        let open = (0..SIDES).filter(|side| one.covers >> side & 1 == 0);
        open.into_iter().any(|side| !self.side(two, side).covers(self.side(one.number, side)))
    }

    fn meet(&self, one: usize, two: usize, work: &mut Work) -> Result<bool, TooMuch> {
        let (left, right) = (&self.all[one], &self.all[two]);
        let apart = |(a, b): (&(u32, u32), &(u32, u32))| a.1 < b.0 || b.1 < a.0;
        if left.hulls.iter().zip(&right.hulls).any(apart) {
            return Ok(false);
        }
        for side in 0..SIDES {
            if left.sides[side] == right.sides[side] {
                continue;
            }
            let (left, right) = (self.side(one, side), self.side(two, side));
            match left.as_slice().len().min(right.as_slice().len()) {
                1 if left.as_slice().len() == right.as_slice().len() => continue,
                few => work.spend(4 * few)?,
            }
            if !left.meets(right) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn covers(&self, one: usize, two: usize) -> SideBits {
        let (left, right) = (&self.all[one], &self.all[two]);
        (0..SIDES).fold(0, |bits, side| {
            let (a, b) = (left.hulls[side], right.hulls[side]);
            let covers = left.sides[side] == right.sides[side]
                || (a.0 <= b.0 && b.1 <= a.1 && self.side(one, side).covers(self.side(two, side)));
            bits | SideBits::from(covers) << side
        })
    }
}

/// Looks at each box that has a bit on every side. A side without nodes tells nothing apart.
fn visit<T>(
    nodes: [Vec<&[u64]>; SIDES],
    among: Range<usize>,
    work: &mut Work,
    mut look: impl FnMut(usize, &mut Work) -> Result<ControlFlow<T>, TooMuch>,
) -> Result<Option<T>, TooMuch> {
    let sides: Vec<Vec<&[u64]>> = nodes.into_iter().filter(|nodes| !nodes.is_empty()).collect();
    for word in among.start / 64..among.end.div_ceil(64) {
        work.spend(1)?;
        let mut bits = sides
            .iter()
            .fold(u64::MAX, |bits, nodes| bits & nodes.iter().fold(0, |bits, node| bits | node[word]));
        while bits != 0 {
            let number = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if !among.contains(&number) {
                continue;
            }
            work.spend(1)?;
            if let ControlFlow::Break(answer) = look(number, work)? {
                return Ok(Some(answer));
            }
        }
    }
    Ok(None)
}
