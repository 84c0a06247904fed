//! The database: folders of `*.jsonl` files, one record a line.
//!
//! `NAME.jsonl` holds the winners of the cascade NAME and is meant to be checked in beside its spec; `NAME.measured.jsonl` holds every
//! measurement, for resuming and for the report.
//!
//! **Writing.** A record is one `write` of one line to a file opened for appending, under the file's lock: two tuners interleave whole
//! lines. A process that is killed leaves at most one line cut short; the next writer ends it first.
//! **Reading.** Lines that cannot be read are reported with file, number and reason, and skipped. Later lines win.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::key::{Class, Key};
use crate::record::{Measurement, Record, Winner};

/// A longer line is damaged.
const MAX_LINE: usize = 1 << 20;

/// A larger file is not read.
const MAX_FILE: u64 = 1 << 30;

/// A line or file that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, reason } = self;
        match line {
            0 => write!(f, "{}: skipped: {reason}", file.display()),
            _ => write!(f, "{}:{line}: line skipped: {reason}", file.display()),
        }
    }
}

/// Records with where they stand.
#[derive(Clone, Debug, Default)]
pub struct Database {
    records: Vec<(PathBuf, usize, Record)>,
    problems: Vec<Problem>,
}

/// What a tuned schedule is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// See [`Key::spec`].
    pub spec: &'a str,
    /// See [`Key::target`].
    pub target: &'a str,
    /// See [`Key::compiler`]. Without, results of any version are found: they hold only for the code of [`Winner::code`].
    pub compiler: Option<&'a str>,
    /// The class of the launches to come; the nearest tuned one within [`Class::REACH`] is taken.
    pub class: &'a Class,
    /// Name and driver of the device where the code will run. Without: the only device of the target in the database, by its newest
    /// driver; [`Tuned::origin`] names it.
    pub device: Option<(&'a str, u32)>,
}

/// A winner that was found.
#[derive(Clone, Debug)]
pub struct Tuned<'a> {
    /// The record.
    pub winner: &'a Winner,
    /// Its file.
    pub file: &'a Path,
    /// Its line.
    pub line: usize,
    /// Doublings between the class asked for and the tuned one.
    pub distance: u32,
}

impl Tuned<'_> {
    /// Where the schedule comes from, for people.
    pub fn origin(&self) -> String {
        let Key {
            device, driver, class, ..
        } = &self.winner.key;
        let near = match self.distance {
            0 => String::new(),
            _ => ", the nearest tuned class".to_owned(),
        };
        format!(
            "{}:{}, tuned on {device}, driver {driver}, for {class}{near}",
            self.file.display(),
            self.line
        )
    }
}

impl Database {
    /// Reads a file, or all `*.jsonl` files of a folder but the measurements. What is not there is empty.
    pub fn open(path: &Path) -> Database {
        Database::read(path, |name| {
            name.ends_with(".jsonl") && !name.ends_with(".measured.jsonl")
        })
    }

    /// As [`Database::open`], with the measurements.
    pub fn open_all(path: &Path) -> Database {
        Database::read(path, |name| name.ends_with(".jsonl"))
    }

    fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Database {
        let mut database = Database::default();
        if path.is_dir() {
            match folder(path) {
                Ok(files) => {
                    let name = |file: &Path| file.file_name().is_some_and(|n| wanted(&n.to_string_lossy()));
                    files
                        .iter()
                        .filter(|file| name(file))
                        .for_each(|file| database.add(file));
                }
                Err(error) => database.problem(path, 0, error.to_string()),
            }
        } else {
            database.add(path);
        }
        database
    }

    fn add(&mut self, file: &Path) {
        let bytes = match File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            opened => opened.and_then(|mut opened| {
                if opened.metadata()?.len() > MAX_FILE {
                    return Err(io::Error::other(format!("larger than {MAX_FILE} bytes")));
                }
                let mut bytes = Vec::new();
                opened.read_to_end(&mut bytes)?;
                Ok(bytes)
            }),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return self.problem(file, 0, error.to_string()),
        };
        for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let read = match str::from_utf8(line) {
                _ if line.len() > MAX_LINE => Err(format!("longer than {MAX_LINE} bytes")),
                Err(_) => Err("no UTF-8 text".to_owned()),
                Ok(text) => Record::from_line(text),
            };
            match read {
                Ok(record) => self.records.push((file.to_owned(), i + 1, record)),
                Err(reason) => self.problem(file, i + 1, reason),
            }
        }
    }

    fn problem(&mut self, file: &Path, line: usize, reason: String) {
        let file = file.to_owned();
        self.problems.push(Problem { file, line, reason });
    }

    /// Lines and files that were skipped.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All records, in the order of files and lines.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().map(|(.., record)| record)
    }

    /// All winners; later ones of a key replace earlier ones.
    pub fn winners(&self) -> Vec<Tuned<'_>> {
        let mut winners: Vec<Tuned<'_>> = Vec::new();
        for (file, line, record) in &self.records {
            let Record::Winner(winner) = record else { continue };
            winners.retain(|w| w.winner.key != winner.key);
            winners.push(Tuned {
                winner,
                file,
                line: *line,
                distance: 0,
            });
        }
        winners
    }

    /// Measurements with exactly this key and shape.
    pub fn measurements<'a>(
        &'a self,
        key: &'a Key,
        shape: &'a std::collections::BTreeMap<String, i64>,
    ) -> impl Iterator<Item = &'a Measurement> {
        self.records().filter_map(move |record| match record {
            Record::Measurement(m) if m.key == *key && m.shape == *shape => Some(m),
            _ => None,
        })
    }

    /// The winner for a query.
    ///
    /// # Errors
    /// Why there is none, for people: results of another device or version are named, never used.
    pub fn find(&self, query: &Query<'_>) -> Result<Tuned<'_>, String> {
        let mut left = self.winners();
        let mut narrow =
            |keep: &dyn Fn(&Key) -> bool, none: &dyn Fn(Vec<String>) -> String, name: &dyn Fn(&Key) -> String| {
                let mut names: Vec<String> = left.iter().map(|w| name(&w.winner.key)).collect();
                left.retain(|w| keep(&w.winner.key));
                names.sort();
                names.dedup();
                if left.is_empty() { Err(none(names)) } else { Ok(()) }
            };
        narrow(
            &|k| k.spec == query.spec,
            &|_| "none is tuned for this spec".to_owned(),
            &|_| String::new(),
        )?;
        let other =
            |what: &'static str| move |names: Vec<String>| format!("tuned for {what} {} only", names.join(", "));
        narrow(&|k| k.target == query.target, &other("target"), &|k| k.target.clone())?;
        narrow(
            &|k| query.compiler.is_none_or(|c| k.compiler == c),
            &other("einloom"),
            &|k| k.compiler.clone(),
        )?;
        if let Some((device, driver)) = query.device {
            narrow(&|k| k.device == device, &other("device"), &|k| k.device.clone())?;
            narrow(&|k| k.driver == driver, &other("driver"), &|k| k.driver.to_string())?;
        }
        let distance = |k: &Key| query.class.distance(&k.class);
        narrow(&|k| distance(k).is_some(), &other("shapes"), &|k| k.class.to_string())?;
        let mut devices: Vec<&str> = left.iter().map(|w| w.winner.key.device.as_str()).collect();
        devices.sort_unstable();
        devices.dedup();
        if devices.len() > 1 {
            return Err(format!("tuned for several devices: {}", devices.join(", ")));
        }
        // The nearest class, then the newest driver, then the smaller class: the order of lines plays no part.
        let order = |w: &Tuned<'_>| {
            let key = &w.winner.key;
            (
                distance(key).unwrap_or(u32::MAX),
                u32::MAX - key.driver,
                key.class.clone(),
            )
        };
        let mut best = left
            .into_iter()
            .min_by_key(order)
            .ok_or_else(|| "none is tuned".to_owned())?;
        best.distance = distance(&best.winner.key).unwrap_or(0);
        Ok(best)
    }
}

fn folder(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Appends records to one file, safely beside other writers.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Opens or makes a file and its folder.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Writer> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        Ok(Writer { file })
    }

    /// Appends one record as one write, and asks the system to keep it.
    ///
    /// # Errors
    /// The system's.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        self.file.lock()?;
        let done = self.append_locked(&record.to_line());
        self.file.unlock()?;
        done
    }

    fn append_locked(&mut self, line: &str) -> io::Result<()> {
        let mut text = String::new();
        if self.file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
            // Someone was killed amid a line: end it, so that it alone is lost.
            if last != *b"\n" {
                text.push('\n');
            }
        }
        text.push_str(line);
        text.push('\n');
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}
