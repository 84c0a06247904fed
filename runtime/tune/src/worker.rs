//! Worker processes: one JSON line a request on their standard input, one a reply on their standard output.
//!
//! A worker that ends, or that is silent for too long, costs its request and is replaced. What it said last on standard error
//! explains the loss. Workers run in process groups of their own, so an interrupt at the terminal stops the parent in an orderly way;
//! their input ends when the parent is gone, and so do they.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The worker's line.
    Line(String),
    /// The worker ended; how, and what it said.
    Died(String),
    /// It did not answer in time, and was killed.
    Late(Duration),
}

/// Bytes of standard error that are kept.
const TAIL: usize = 2000;

/// A longer line is cut.
const MAX_LINE: u64 = 16 << 20;

enum Message {
    Line(usize, u64, String),
    End(usize, u64),
}

struct Job {
    id: usize,
    line: String,
}

struct Running {
    child: Child,
    input: ChildStdin,
    errors: Arc<Mutex<Vec<u8>>>,
    /// Ends with the worker's standard error.
    reader: JoinHandle<()>,
    job: Option<(usize, Instant)>,
}

/// A pool of equal workers.
pub struct Pool {
    command: Box<dyn Fn() -> Command + Send>,
    hello: String,
    timeout: Duration,
    slots: Vec<Option<Running>>,
    /// Counts starts, so that words of a dead worker are told from those of its successor.
    generations: Vec<u64>,
    queue: VecDeque<Job>,
    ready: VecDeque<(usize, Reply)>,
    messages: Receiver<Message>,
    sender: Sender<Message>,
}

impl Pool {
    /// A pool of `count` workers, each started when it is first needed. `hello` is the first line that every worker reads; a request
    /// may take `timeout`.
    pub fn new(count: usize, hello: String, timeout: Duration, command: impl Fn() -> Command + Send + 'static) -> Pool {
        let (sender, messages) = channel();
        let count = count.max(1);
        Pool {
            command: Box::new(command),
            hello,
            timeout,
            slots: (0..count).map(|_| None).collect(),
            generations: vec![0; count],
            queue: VecDeque::new(),
            ready: VecDeque::new(),
            messages,
            sender,
        }
    }

    /// How many requests can be worked on at once.
    pub fn workers(&self) -> usize {
        self.slots.len()
    }

    /// Queues a request: one line without its end.
    pub fn submit(&mut self, id: usize, line: String) {
        self.queue.push_back(Job { id, line });
        self.feed();
    }

    /// The next answer, waiting at most so long.
    pub fn next(&mut self, wait: Duration) -> Option<(usize, Reply)> {
        let deadline = Instant::now() + wait;
        loop {
            self.feed();
            if let Some(answer) = self.ready.pop_front() {
                return Some(answer);
            }
            let now = Instant::now();
            let jobs = self.slots.iter().flatten().filter_map(|w| w.job);
            let soonest = jobs.map(|(_, start)| start + self.timeout).min();
            let until = soonest.map_or(deadline, |s| s.min(deadline));
            match self.messages.recv_timeout(until.saturating_duration_since(now)) {
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout) => {
                    self.kill_late();
                    if Instant::now() >= deadline && self.ready.is_empty() {
                        return None;
                    }
                }
                // `self` holds a sender.
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// One request and its answer. Other requests must not be under way.
    pub fn ask(&mut self, line: String) -> Reply {
        self.submit(0, line);
        loop {
            if let Some((_, reply)) = self.next(self.timeout) {
                return reply;
            }
        }
    }

    fn feed(&mut self) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|w| w.job.is_some()) {
                continue;
            }
            let Some(job) = self.queue.pop_front() else { return };
            if let Err(reason) = self.assign(slot, &job) {
                self.ready.push_back((job.id, Reply::Died(reason)));
            }
        }
    }

    fn assign(&mut self, slot: usize, job: &Job) -> Result<(), String> {
        for fresh in [false, true] {
            if self.slots[slot].is_none() {
                self.slots[slot] = Some(
                    self.start(slot)
                        .map_err(|e| format!("a worker cannot be started: {e}"))?,
                );
            }
            let Some(worker) = &mut self.slots[slot] else { continue };
            if writeln!(worker.input, "{}", job.line)
                .and_then(|()| worker.input.flush())
                .is_ok()
            {
                worker.job = Some((job.id, Instant::now()));
                return Ok(());
            }
            // It ended while it was idle: a fresh one gets the request.
            let reason = self.bury(slot);
            if fresh {
                return Err(reason);
            }
        }
        Err("a worker cannot be started".to_owned())
    }

    fn start(&mut self, slot: usize) -> std::io::Result<Running> {
        let mut command = (self.command)();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        self.generations[slot] += 1;
        let missing = || std::io::Error::other("no pipe");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = errors.clone();
        let reader = std::thread::spawn(move || keep_tail(stderr, &kept));
        let (sender, generation) = (self.sender.clone(), self.generations[slot]);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = String::new();
            while matches!(reader.by_ref().take(MAX_LINE).read_line(&mut line), Ok(n) if n > 0) {
                let text = line.trim_end().to_owned();
                line.clear();
                if sender.send(Message::Line(slot, generation, text)).is_err() {
                    return;
                }
            }
            let _ = sender.send(Message::End(slot, generation));
        });
        // A worker that cannot read this has ended; the next request finds out.
        let _ = writeln!(input, "{}", self.hello).and_then(|()| input.flush());
        Ok(Running {
            child,
            input,
            errors,
            reader,
            job: None,
        })
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Line(slot, generation, line) if self.generations[slot] == generation => {
                if let Some((id, _)) = self.slots[slot].as_mut().and_then(|w| w.job.take()) {
                    self.ready.push_back((id, Reply::Line(line)));
                }
            }
            Message::End(slot, generation) if self.generations[slot] == generation => {
                let job = self.slots[slot].as_ref().and_then(|w| w.job);
                let reason = self.bury(slot);
                if let Some((id, _)) = job {
                    self.ready.push_back((id, Reply::Died(reason)));
                }
            }
            _ => {}
        }
    }

    fn kill_late(&mut self) {
        for slot in 0..self.slots.len() {
            let job = self.slots[slot].as_ref().and_then(|w| w.job);
            if let Some((id, start)) = job
                && start.elapsed() >= self.timeout
            {
                self.bury(slot);
                self.ready.push_back((id, Reply::Late(self.timeout)));
            }
        }
    }

    /// Ends a worker; says how it ended.
    fn bury(&mut self, slot: usize) -> String {
        self.generations[slot] += 1;
        let Some(mut worker) = self.slots[slot].take() else {
            return String::new();
        };
        // It may be about to end by itself: its own status says more than our signal's.
        let mut status = None;
        for _ in 0..20 {
            status = worker.child.try_wait().ok().flatten();
            if status.is_some() || worker.job.is_some_and(|(_, start)| start.elapsed() >= self.timeout) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if status.is_none() {
            let _ = worker.child.kill();
            status = worker.child.wait().ok();
        }
        // Its last words may still be on their way; a child of its own may keep the pipe open for longer.
        for _ in 0..40 {
            if worker.reader.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let errors = worker.errors.lock().map(|e| String::from_utf8_lossy(&e).into_owned());
        describe(status, &errors.unwrap_or_default())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in self.slots.iter_mut().flatten() {
            // An idle worker ends at the end of its input; a busy one has nobody left to answer.
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

fn describe(status: Option<ExitStatus>, errors: &str) -> String {
    let status = status.map_or_else(|| "a worker ended".to_owned(), |s| format!("a worker ended by {s}"));
    // The last lines say most.
    let lines: Vec<&str> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("; ");
    if last.is_empty() {
        status
    } else {
        format!("{status}: {last}")
    }
}

fn keep_tail(mut from: impl Read, into: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 512];
    while let Ok(n) = from.read(&mut chunk) {
        if n == 0 {
            return;
        }
        if let Ok(mut kept) = into.lock() {
            kept.extend(&chunk[..n]);
            let surplus = kept.len().saturating_sub(TAIL);
            kept.drain(..surplus);
        }
    }
}
