//! The sheets: buffers that views are rendered into, and sent from.
//!
//! A view is rendered for each request, for it may be another one each time. As a rule the socket takes all of it at once,
//! and the sheet is free again; the one that was freed last is used next, so that the memory of the others is never
//! touched. Who does not read keeps a sheet, until so many do that the one who began first has to go.

use crate::badge::BADGE_MAX;
use crate::history;
use crate::metrics::METRICS_MAX;
use crate::page::PAGE_MAX;

/// How many there are. One is always free, so three may be kept by those who are slow to read.
pub const SHEETS: usize = 4;

/// How many bytes fit one: the longest view, which is a history of texts that have to be escaped byte for byte.
pub const SHEET_CAPACITY: usize = history::JSON_MAX;
const _: () = assert!(METRICS_MAX <= SHEET_CAPACITY && PAGE_MAX <= SHEET_CAPACITY && BADGE_MAX <= SHEET_CAPACITY);

/// What is on a sheet.
pub type Sheet = heapless::Vec<u8, SHEET_CAPACITY>;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SheetId(u8);

/// All of them.
#[derive(Debug)]
pub struct Sheets {
    sheets: [Sheet; SHEETS],
    /// Those that are in use, the one that was taken first in front; behind them those that are free, the one that was
    /// freed last in front.
    order: [u8; SHEETS],
    used: usize,
}

impl Sheets {
    /// Nothing is in use.
    pub const fn new() -> Self {
        Sheets { sheets: [const { Sheet::new() }; SHEETS], order: [0; SHEETS], used: 0 }
    }

    /// Frees them all; has to come first.
    pub fn start(&mut self) {
        self.order = core::array::from_fn(|sheet| sheet as u8);
        self.used = 0;
    }

    /// Takes an empty one; `None` where all are in use.
    pub fn take(&mut self) -> Option<SheetId> {
        let id = *self.order.get(self.used)?;
        self.used += 1;
        self.sheets[usize::from(id)].clear();
        Some(SheetId(id))
    }

    /// What is written on it.
    pub fn get(&self, id: SheetId) -> &Sheet {
        &self.sheets[usize::from(id.0)]
    }

    /// The same, to write on.
    pub fn get_mut(&mut self, id: SheetId) -> &mut Sheet {
        &mut self.sheets[usize::from(id.0)]
    }

    /// Frees one that was taken.
    pub fn give_back(&mut self, id: SheetId) {
        let Some(at) = self.order[..self.used].iter().position(|&used| used == id.0) else { return };
        self.used -= 1;
        self.order[at..=self.used].rotate_left(1);
    }

    /// The one that was taken first, where none is free.
    pub fn overdue(&self) -> Option<SheetId> {
        (self.used == SHEETS).then_some(SheetId(self.order[0]))
    }
}

impl Default for Sheets {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn the_sheet_that_was_freed_last_is_used_next_and_the_one_taken_first_is_overdue() {
        let mut sheets = Box::<Sheets>::default();
        sheets.start();
        let first = sheets.take().unwrap();
        sheets.get_mut(first).push(1).unwrap();
        sheets.give_back(first);
        assert_eq!((sheets.take(), sheets.get(first).is_empty()), (Some(first), true));
        let [second, third, fourth] = [(); 3].map(|()| {
            assert_eq!(sheets.overdue(), None);
            sheets.take().unwrap()
        });
        assert_eq!((sheets.take(), sheets.overdue()), (None, Some(first)));
        sheets.give_back(third);
        assert_eq!(sheets.overdue(), None);
        assert_eq!(sheets.take(), Some(third));
        sheets.give_back(first);
        assert_eq!(sheets.take(), Some(first));
        assert_eq!(sheets.overdue(), Some(second));
        for id in [first, second, third, fourth] {
            sheets.give_back(id);
        }
        sheets.give_back(first);
        assert_eq!(sheets.take(), Some(fourth));
    }
}
