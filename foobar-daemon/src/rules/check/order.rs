//! Rules that other rules make useless.

use std::{
    collections::BTreeSet,
    ops::{ControlFlow, Range},
};

use super::{
    Finding, Subject,
    boxes::{Boxes, Point},
    search::{self, Candidate},
    steps::Steps,
    words::{self, Found},
    work::{TooMuch, Work},
};

/// So many later boxes of another verdict are tried before all are gone through.
const TRIED_MAX: usize = 4;
/// Lists that run into each other are looked for among so many earlier boxes.
const OVERLAPS_LOOKED_AT: usize = 1_000;
/// After so many rules whose lists run into others, no more are looked for.
const OVERLAPS_TOLD: usize = 1_000;

/// Looks at each rule together with those before and behind it.
pub(super) fn check(steps: &Steps<'_>, ids: &[&str], work: &mut Work, findings: &mut Vec<Finding>) {
    let reached = each_rule(steps, 3, work, |step, work| reached(steps, step, work));
    let is_never_reached =
        |step: usize| step.checked_sub(steps.rules.start).is_some_and(|rule| reached[rule].is_never());
    let useless = each_rule(steps, 2, work, |step, work| match &reached[step - steps.rules.start] {
        Reached::Never(found) => Some(found.clone()),
        Reached::Undecided => Some(words::undecided()),
        Reached::By(arrivals) => match only_counts(steps, step, arrivals, is_never_reached, work) {
            Ok(true) => Some(words::only_counts(steps.verdict(step))),
            Ok(false) => None,
            Err(TooMuch) => Some(words::undecided()),
        },
    });
    let mut n_told = 0;
    let overlapping = each_rule(steps, 1, work, |step, work| {
        let others = if n_told == OVERLAPS_TOLD || is_never_reached(step) {
            Vec::new()
        } else {
            overlaps(steps, step, work)
        };
        n_told += usize::from(!others.is_empty());
        others
    });
    for ((id, useless), others) in ids.iter().zip(useless).zip(overlapping) {
        let overlap = (!others.is_empty()).then(|| words::overlap(steps, &others));
        findings.extend(useless.into_iter().chain(overlap).map(|(severity, kind, message, help)| Finding {
            severity,
            kind,
            subject: Subject::Rule((*id).to_owned()),
            message,
            help,
        }));
    }
    findings.extend((n_told == OVERLAPS_TOLD).then(|| words::more_overlaps(OVERLAPS_TOLD)));
}

/// Asks the same of each rule. `n_questions` are to be asked from here on, with this one.
fn each_rule<T>(
    steps: &Steps<'_>,
    n_questions: usize,
    work: &mut Work,
    mut ask: impl FnMut(usize, &mut Work) -> T,
) -> Vec<T> {
    let n_later = (n_questions - 1) * steps.rules.len();
    let rules = steps.rules.clone();
    rules.clone().map(|step| work.share(n_later + rules.end - step, |work| ask(step, work))).collect()
}

/// What gets to a rule.
enum Reached {
    /// Of each of its boxes a packet that does, if any does and it was found out.
    By(Vec<Result<Option<Point>, TooMuch>>),
    /// Nothing, and that is what is to be said of it.
    Never(Found),
    /// Not known.
    Undecided,
}

impl Reached {
    fn is_never(&self) -> bool {
        matches!(self, Self::Never(_))
    }
}

fn reached(steps: &Steps<'_>, step: usize, work: &mut Work) -> Reached {
    let arrivals: Vec<_> = steps.boxes(step).map(|(boxes, number)| arrival(boxes, number, work)).collect();
    if arrivals.is_empty() {
        Reached::Never(words::empty())
    } else if arrivals.iter().any(|arrival| matches!(arrival, Ok(Some(_)))) {
        Reached::By(arrivals)
    } else if arrivals.iter().all(Result::is_ok) {
        Reached::Never(shadowed(steps, step, work))
    } else {
        Reached::Undecided
    }
}

/// A packet of a box that no box before it has.
fn arrival(boxes: &Boxes, number: usize, work: &mut Work) -> Result<Option<Point>, TooMuch> {
    let guess = boxes.quiet_point(number);
    if boxes.first_at(&guess, 0..number, |_| true, work)?.is_none() {
        return Ok(Some(guess));
    }
    let before = candidates(boxes, number, 0..number, |_| Some(false), work)?;
    search::find(boxes, number, &before, true, work)
}

/// The boxes among some that meet a box, up to the first that covers it. `is_wanted` says nothing of those that
/// are to be left out.
pub(super) fn candidates(
    boxes: &Boxes,
    number: usize,
    among: Range<usize>,
    is_wanted: impl Fn(usize) -> Option<bool>,
    work: &mut Work,
) -> Result<Vec<Candidate>, TooMuch> {
    let mut found = Vec::new();
    boxes.meetings(number, among, work, |meeting| match is_wanted(boxes.step(meeting.number)) {
        None => ControlFlow::Continue(()),
        Some(is_wanted) => {
            found.push(Candidate { meeting, is_wanted });
            if meeting.covers_all() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    })?;
    Ok(found)
}

/// What is to be said of a rule that decides nothing.
fn shadowed(steps: &Steps<'_>, step: usize, work: &mut Work) -> Found {
    let verdict = steps.verdict(step);
    let is_other = |other: usize| steps.verdict(other) != verdict;
    let mut is_got = |wanted: bool| {
        steps.boxes(step).any(|(boxes, number)| {
            candidates(boxes, number, 0..number, |other| Some(is_other(other) == wanted), work)
                .and_then(|before| search::find(boxes, number, &before, false, work))
                .map_or(true, |found| found.is_some())
        })
    };
    let (gets_same, gets_other) = (is_got(false), is_got(true));
    let mut by = BTreeSet::new();
    let mut covering = BTreeSet::new();
    for (boxes, number) in steps.boxes(step) {
        let before = candidates(boxes, number, 0..number, |_| Some(false), work).unwrap_or_default();
        by.extend(before.iter().map(|one| boxes.step(one.meeting.number)));
        let last = before.last().filter(|last| last.meeting.covers_all());
        covering.insert(last.map(|last| boxes.step(last.meeting.number)));
    }
    // One that covers it is the one to name, unless those before that one take so much that it misleads.
    let alone = match covering.into_iter().collect::<Vec<_>>()[..] {
        [Some(one)] if gets_same != gets_other && is_other(one) == gets_other => Some(one),
        _ => None,
    };
    let by: Vec<usize> = alone.map_or_else(|| by.into_iter().collect(), |one| vec![one]);
    words::shadowed(steps, verdict, &by, gets_same, gets_other)
}

/// Whether every packet that gets to the rule would get the same verdict without it. Rules that are never reached
/// may stay or go; what is said must hold in both cases.
fn only_counts(
    steps: &Steps<'_>,
    step: usize,
    arrivals: &[Result<Option<Point>, TooMuch>],
    is_never_reached: impl Fn(usize) -> bool,
    work: &mut Work,
) -> Result<bool, TooMuch> {
    Ok(!is_needed(steps, step, arrivals, |_| true, work)?
        && !is_needed(steps, step, arrivals, |other| !is_never_reached(other), work)?)
}

/// Whether some packet would get another verdict if the rule were not there, with those of the other steps that
/// stay.
fn is_needed(
    steps: &Steps<'_>,
    step: usize,
    arrivals: &[Result<Option<Point>, TooMuch>],
    stays: impl Fn(usize) -> bool,
    work: &mut Work,
) -> Result<bool, TooMuch> {
    let is_wanted = |other: usize| steps.differ(other, step);
    let otherwise = steps.differs_from_policy(step);
    let boxes = || steps.boxes(step).zip(arrivals).filter(|(_, arrival)| !matches!(arrival, Ok(None)));
    let decides_wanted = |boxes: &Boxes, number: usize, point: &Point, work: &mut Work| {
        let all = boxes.of_steps(0..steps.rules.end);
        let first = boxes.first_at(point, all, |one| one != number && stays(boxes.step(one)), work)?;
        Ok(first.map_or(otherwise, |first| first > number && is_wanted(boxes.step(first))))
    };
    for ((boxes, number), arrival) in boxes() {
        if let Ok(Some(point)) = arrival
            && decides_wanted(boxes, number, point, work)?
        {
            return Ok(true);
        }
    }
    for ((boxes, number), _) in boxes() {
        let all = boxes.of_steps(0..steps.rules.end);
        let mut tried = Vec::new();
        boxes.meetings(number, number + 1..all.end, work, |meeting| {
            let other = boxes.step(meeting.number);
            if stays(other) && is_wanted(other) {
                tried.push(meeting.number);
            }
            let is_last = tried.len() == TRIED_MAX || (stays(other) && meeting.covers_all());
            if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        for other in tried {
            if decides_wanted(boxes, number, &boxes.quiet_point_of_both(number, other), work)? {
                return Ok(true);
            }
        }
        let candidates = candidates(
            boxes,
            number,
            all,
            |other| stays(other).then(|| boxes.of_step(step) < boxes.of_step(other) && is_wanted(other)),
            work,
        )?;
        if search::find(boxes, number, &candidates, otherwise, work)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Earlier rules of another verdict whose lists run into those of this rule.
fn overlaps(steps: &Steps<'_>, step: usize, work: &mut Work) -> Vec<usize> {
    let mut found = BTreeSet::new();
    for (boxes, number) in steps.boxes(step) {
        let before = boxes.of_steps(steps.rules.start..step);
        let mut left = OVERLAPS_LOOKED_AT;
        let looked = boxes.meetings(number, before, work, |meeting| {
            let other = boxes.step(meeting.number);
            left -= 1;
            if steps.verdict(other) != steps.verdict(step) && boxes.run_into_each_other(meeting, number) {
                found.insert(other);
            }
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if looked.is_err() {
            break;
        }
    }
    found.into_iter().collect()
}
