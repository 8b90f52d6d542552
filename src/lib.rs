//! A small HTTP server for one JSON status: CI posts it, Grafana and people get it.
//!
//! The server is a function and the sockets are an afterthought. All that can be right or wrong about HTTP, JSON,
//! time-outs and capacity is the *core*: it takes bytes and the time, and gives bytes and a deadline. It makes no
//! system call, reads no clock, allocates nothing and is `no_std`. Around it stand a few modules that know sockets,
//! clocks and files; they are there with the feature `std`, which is on by default. Read it from the bottom up, a module
//! uses only what stands below it:
//!
//! | floor | module | what it knows |
//! | --- | --- | --- |
//! | 7 | `main.rs` | the process, as the standard library has it |
//! | 6 | `program` | what is done, and exit codes |
//! | 5 | `server` | sockets and signals: moves bytes between `mio` and the core |
//! | 5 | `files`, `worker` | files, and the thread that waits for them so that the server does not |
//! | 5 | `config`, `clock`, `log` | options, clocks, standard error |
//! | 5 | `ground` | what the process gives: signals and threads |
//! | 5 | `client`, `healthcheck`, `roundtrip` | asking another server, how it is and whether it takes a post |
//! | 4 | [`connections`] | all connections: capacity, the nearest deadline, who goes when there are too many |
//! | 4 | [`connection`] | one connection: what is buffered, what is owed, what happens next and by when |
//! | 3 | [`routes`] | which request gets which answer |
//! | 3 | [`render`] | an answer as bytes |
//! | 3 | [`event`] | what the core tells the log |
//! | 3 | [`store`] | where a status is kept, and what wins when: the order of steps that `files` does |
//! | 2 | [`snapshot`] | the slots that hold statuses, and who pins them |
//! | 2 | [`status`] | what is accepted as a status, and its known fields |
//! | 2 | [`sheets`] | the buffers that views are sent from |
//! | 2 | [`page`], [`badge`], [`history`], [`metrics`] | one view of the status each |
//! | 2 | [`summary`], [`counters`] | what views are made of |
//! | 1 | [`json`], [`http`], [`markup`], [`date`], [`text`] | one syntax each |

#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod badge;
pub mod connection;
pub mod connections;
pub mod counters;
pub mod date;
pub mod event;
pub mod history;
pub mod http;
pub mod json;
pub mod markup;
pub mod metrics;
pub mod page;
pub mod render;
pub mod routes;
pub mod sheets;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod summary;
pub mod text;

#[cfg(feature = "std")]
pub mod client;
#[cfg(feature = "std")]
pub mod clock;
#[cfg(feature = "std")]
pub mod config;
#[cfg(feature = "std")]
pub mod files;
#[cfg(feature = "std")]
pub mod ground;
#[cfg(feature = "std")]
pub mod healthcheck;
#[cfg(feature = "std")]
pub mod log;
#[cfg(feature = "std")]
pub mod program;
#[cfg(feature = "std")]
pub mod roundtrip;
#[cfg(feature = "std")]
pub mod server;
#[cfg(feature = "std")]
pub mod worker;
