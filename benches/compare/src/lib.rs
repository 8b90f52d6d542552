//! What the comparison with other servers is made with: `load`, a load generator that is cheap enough to drive a fast
//! server from one core, and `limit`, a server that does as little as a server can.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`load`] | connections that ask and wait: when to send what, and what came back |
//! | [`limit`] | the bare loop |
//! | [`options`] | the command line of `load` |
//! | [`pace`] | when the next request is due: at once, or by a schedule |
//! | [`response`] | where a response ends, and whether its body is the right one |
//! | [`figures`] | what was measured, as JSON |
//! | [`cpu`] | the time that processes had a processor |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cpu;
pub mod figures;
pub mod limit;
pub mod load;
pub mod options;
pub mod pace;
pub mod response;
