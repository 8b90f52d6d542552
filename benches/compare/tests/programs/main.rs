//! Both programs, run against servers of the tests' own and against each other.

mod common;
mod limit;
mod load;
