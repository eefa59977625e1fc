//! The records of flows against the plain reading, over days.

use std::collections::HashMap;

use foobar_common::{
    flow::{Direction, UNTAGGED},
    frame::Frame,
    parse::{Headers, network, transport},
    tracking::{FlowKey, Moment, Standing, State, Subject, TrackedFlow, standing},
};
use foobar_daemon::rules::evaluate::Known;
use foobar_tests::{flow_model::FlowModel, random::Random};

use super::talk;

/// What the programs keep, without the programs.
#[derive(Default)]
struct Records(HashMap<FlowKey, TrackedFlow>);

impl Records {
    fn stand(&self, subject: &Subject, direction: Direction, now: Moment) -> Standing {
        let found = self.0.get(&subject.key).copied().filter(|flow| flow.is_known(now));
        standing(subject, found, direction, now, false)
    }

    fn accepted(&mut self, subject: &Subject, direction: Direction, now: Moment) {
        if !self.stand(subject, direction, now).is_followed() {
            return;
        }
        let known = self.0.get(&subject.key).filter(|flow| flow.is_known(now));
        let next = match known {
            Some(flow) => flow.after(subject, direction, now),
            None => TrackedFlow::begun(subject, direction, now),
        };
        self.0.insert(subject.key, next);
    }
}

fn subject(frame: &[u8], direction: Direction) -> Option<Subject> {
    let (mut headers, mut subject) = (Headers::NONE, Subject::NONE);
    let frame = Frame::from_slice(frame);
    network(&frame, UNTAGGED, &mut headers).and_then(|()| transport(&frame, &mut headers)).ok()?;
    subject.read(&frame, &headers, direction);
    Some(subject)
}

#[test]
fn records_and_plain_reading_agree_over_days() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (mut records, mut model) = (Records::default(), FlowModel::default());
        let mut second = 1_000;
        for number in 0..2_000 {
            // On both sides of each time limit, by more than the clock is coarse.
            second += match random.below(100) {
                0..80 => 0,
                80..85 => 7,
                85..88 => random.pick(&[27, 33]),
                88..91 => random.pick(&[57, 64]),
                91..94 => random.pick(&[116, 124]),
                94..96 => random.pick(&[176, 185]),
                96..97 => random.pick(&[590, 610]),
                97..98 => random.pick(&[3_590, 3_610]),
                98..99 => random.pick(&[7_990, 8_010]),
                _ => random.pick(&[431_990, 432_010]),
            };
            let (frame, direction) = talk::packet(&mut random);
            let Some(subject) = subject(&frame, direction) else { continue };
            if model.is_doubtful(&frame, direction, second) {
                continue;
            }
            let now = Moment::from_nanoseconds(second * 1_000_000_000);
            let standing = records.stand(&subject, direction, now);
            let found = Known {
                state: State::from_number(standing.state()).unwrap(),
                is_answer: standing.is_answer(),
            };
            let expected = model.known(&frame, direction, second);
            assert_eq!(found, expected, "seed {seed}, packet {number}, {direction:?}: {subject:?}");
            if random.percent(90) {
                records.accepted(&subject, direction, now);
                model.accepted(&frame, direction, second);
            }
        }
    }
}

#[test]
fn a_packet_that_changes_nothing_is_not_followed() {
    // Within eight seconds, an established connection costs no store.
    let (key, now) = (FlowKey { kind: 4 << 8 | 6, ..FlowKey::NONE }, Moment(1_000));
    let flow = TrackedFlow::older(Direction::In, &key, now);
    let ack = Subject { key, act: foobar_common::tracking::Act::Ack.number(), number: 7 };
    for direction in Direction::ALL {
        for since in 0..8 {
            assert!(!standing(&ack, Some(flow), direction, now.after(since), false).is_followed());
        }
        assert!(standing(&ack, Some(flow), direction, now.after(8), false).is_followed());
    }
}
