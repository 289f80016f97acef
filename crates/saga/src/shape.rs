//! The table as a drawable value.

use knarr_model::instance::{FINAL, INITIAL};
use knarr_model::shape::{RowShape, Shape};

use crate::behaviour::Aim;
use crate::machine::Machine;
use crate::states::States;
use crate::table::{Ending, Line, Place, Table};

/// The name under which the target `Fail` stands in a shape.
pub(crate) const FAIL: &str = "Fail";

/// The shape of a filled table.
pub(crate) fn shape<M: Machine>(name: &str, table: &Table<M>) -> Shape {
    Shape {
        saga: name.to_owned(),
        version: table.settings.version,
        states: M::State::NAMES.iter().map(|name| (*name).to_owned()).collect(),
        rows: table.rows.iter().map(|line| row(table, line)).collect(),
    }
}

fn row<M: Machine>(table: &Table<M>, line: &Line<M>) -> RowShape {
    let state = |number: &usize| M::State::NAMES[*number].to_owned();
    let states = match &line.place {
        Place::Initially => vec![INITIAL.to_owned()],
        Place::In(numbers) => numbers.iter().map(state).collect(),
        Place::Any => Vec::new(),
    };
    let target = |aim: &Aim| match aim {
        Aim::To(number) => Some(state(number)),
        Aim::Finish => Some(FINAL.to_owned()),
        Aim::Fail(_) => Some(FAIL.to_owned()),
        Aim::Stay => None,
    };
    let targets = match &line.ending {
        Ending::To(aim) => target(aim).into_iter().collect(),
        Ending::Branch(aims, _) => aims.iter().filter_map(target).collect(),
        Ending::Ignore | Ending::Defer => Vec::new(),
    };
    RowShape {
        states,
        on: table.event_shape(&line.on),
        behaviours: line.names.iter().map(|name| (*name).to_owned()).collect(),
        targets,
        ignored: matches!(line.ending, Ending::Ignore),
    }
}
