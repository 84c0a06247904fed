//! Autotuning: what was measured is kept as text, and the fastest correct schedule of a kernel is found by racing.
//!
//! This crate knows neither the compiler nor the GPU. A schedule is a line of text such as `rows=128,cols=64,warps=4`, which
//! the compiler's driver writes and reads; compiling and measuring are traits that the driver implements with worker
//! processes. So the search, the database and the report are tested without a GPU.
//!
//! | module | what |
//! | --- | --- |
//! | [`key`] | for what a measurement holds: spec, target, device, driver, compiler, shape class |
//! | [`record`] | one line of the database |
//! | [`database`] | reading folders of `*.jsonl`, appending safely beside other writers, looking up winners |
//! | [`search`] | screening in the order of the model, local moves, a race with elimination |
//! | [`worker`] | worker processes that speak one JSON line a request |
//! | [`lock`] | one measurement at a time on a device |
//! | [`report`] | the HTML page |
//!
//! # Reading tuned schedules
//! A build script or a compiler needs three calls:
//! ```
//! use einloom_tune::database::{Database, Query};
//! use einloom_tune::key::Class;
//! let database = Database::open("tuned".as_ref()); // a missing folder is an empty database
//! for problem in database.problems() { eprintln!("{problem}"); }
//! let query = Query {
//!     spec: "hash of the specialisation", target: "sm_90a", compiler: Some("0.1.0"),
//!     class: &Class::new(16, [("P", 4096), ("M", 4096)]), device: None,
//! };
//! match database.find(&query) {
//!     Ok(tuned) => println!("{:?} from {}", tuned.winner.schedules, tuned.origin()),
//!     Err(reason) => println!("default schedules: {reason}"),
//! }
//! ```
//! `schedules` has one text for each kernel of the plan, in the plan's order.
#![warn(missing_docs)]

pub mod database;
pub mod key;
pub mod lock;
pub mod record;
pub mod report;
pub mod search;
pub mod worker;
