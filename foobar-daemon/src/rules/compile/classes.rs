//! The classes of all fields; equal ones of a field are stored once.

use std::{collections::HashMap, rc::Rc};

use foobar_common::classes::{NO_GROUP, NO_SERVICE};

use super::vectors::Vector;

/// What all values of one class have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Class {
    /// The clauses whose condition on this field accepts the value.
    pub(super) clauses: Rc<Vector>,
    /// As in [`foobar_common::classes::ClassHead`].
    pub(super) failsafe: u32,
    /// As in [`foobar_common::classes::ClassHead`].
    pub(super) service: [u8; 3],
    /// As in [`foobar_common::classes::ClassHead`].
    pub(super) protocol: [u8; 3],
    /// As in [`foobar_common::classes::ClassHead`].
    pub(super) group: u8,
}

impl Class {
    /// A class that says nothing but which clauses accept it.
    pub(super) fn of(clauses: Vector) -> Self {
        Self {
            clauses: Rc::new(clauses),
            failsafe: 0,
            service: [NO_SERVICE; 3],
            protocol: [0; 3],
            group: NO_GROUP,
        }
    }
}

/// The classes so far.
#[derive(Default)]
pub(super) struct Classes {
    pub(super) list: Vec<Class>,
}

impl Classes {
    /// Adds one, even if it is equal to another.
    pub(super) fn push(&mut self, class: Class) -> u32 {
        let number = self.next();
        self.list.push(class);
        number
    }

    /// Begins a field, whose classes will stand side by side.
    pub(super) fn field(&mut self) -> Field<'_> {
        let first = self.next();
        Field { classes: self, first, numbers: HashMap::new() }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }
}

/// The classes of one field.
pub(super) struct Field<'c> {
    classes: &'c mut Classes,
    /// The number of its first class.
    pub(super) first: u32,
    numbers: HashMap<Class, u32>,
}

impl Field<'_> {
    /// The number of a class among all, new or known.
    pub(super) fn number(&mut self, class: Class) -> u32 {
        let next = self.classes.next();
        let number = *self.numbers.entry(class.clone()).or_insert(next);
        if number == next {
            self.classes.list.push(class);
        }
        number
    }
}
