//! The database on disk: damaged lines, writers that are killed, two writers at once, what is found and what is not.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use einloom_tune::database::{Database, Query, Writer};
use einloom_tune::key::{Class, Key};
use einloom_tune::record::{Measurement, Record, Status, Time, Winner};

fn key(device: &str, p: u64) -> Key {
    Key {
        spec: "abc".into(),
        target: "sm_90a".into(),
        device: device.into(),
        driver: 13000,
        compiler: "0.1.0".into(),
        class: Class::new(16, [("P", p)]),
    }
}

const TIME: Time = Time {
    median: 10.0,
    low: 9.0,
    high: 12.0,
};

fn winner(key: Key, schedule: &str) -> Record {
    Record::Winner(Winner {
        key,
        cascade: "causal".into(),
        choice: "e=128".into(),
        shape: BTreeMap::from([("P".to_owned(), 4096)]),
        schedules: vec![schedule.into()],
        us: TIME,
        default: vec!["rows=64".into()],
        code: None,
        default_us: Some(TIME),
        predicted: Some(11.0),
        rank: Some(2),
        legal: 40,
        measured: 12,
        error_share: 0.5,
        flops: 1e9,
        bytes: 1e6,
    })
}

fn measurement(i: usize) -> Record {
    Record::Measurement(Measurement {
        key: key("H100", 4096),
        shape: BTreeMap::from([("P".to_owned(), 4096)]),
        schedules: vec![format!("rows={i}")],
        predicted: None,
        parts: BTreeMap::new(),
        status: Status::Timed,
        us: Some(TIME),
        note: String::new(),
    })
}

fn append(path: &Path, records: &[Record]) {
    let mut writer = Writer::open(path).unwrap();
    for record in records {
        writer.append(record).unwrap();
    }
}

fn query<'a>(class: &'a Class, device: Option<(&'a str, u32)>) -> Query<'a> {
    Query {
        spec: "abc",
        target: "sm_90a",
        compiler: Some("0.1.0"),
        class,
        device,
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuned/causal.jsonl");
    let records = [winner(key("H100", 4096), "rows=128"), measurement(1)];
    append(&path, &records);
    let database = Database::open(path.parent().unwrap());
    assert_eq!(database.problems(), []);
    assert!(database.records().eq(&records));
    assert_eq!(Database::open(&folder.path().join("missing")).records().count(), 0);
}

#[test]
fn measurements_are_left_out_of_what_a_compiler_reads() {
    let folder = tempfile::tempdir().unwrap();
    append(&folder.path().join("a.measured.jsonl"), &[measurement(1)]);
    append(&folder.path().join("a.jsonl"), &[winner(key("H100", 4096), "rows=128")]);
    assert_eq!(Database::open(folder.path()).records().count(), 1);
    assert_eq!(Database::open_all(folder.path()).records().count(), 2);
}

#[test]
fn damaged_lines_are_reported_and_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let good = measurement(1).to_line();
    let bad: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        good[..good.len() / 2].into(),
        good.replace("\"v\":1", "\"v\":2").into(),
        good.replace("\"status\"", "\"stat\"").into(),
        good.replace("\"median\":10.0", "\"median\":-1.0").into(),
        good.replace("\"timed\"", "\"wrong\"").into(),
        good.replace("align=16", "align").into(),
        vec![0xff, 0xfe],
        b"[1]".to_vec(),
        vec![b'['; 100_000],
        vec![b' '; (1 << 20) + 1].into_iter().chain(*b"1").collect(),
    ];
    let mut bytes = Vec::new();
    for line in &bad {
        bytes.extend(line);
        bytes.extend(format!("\n\n{good}\n").bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    let database = Database::open(folder.path());
    assert_eq!(database.records().count(), bad.len());
    let lines: Vec<usize> = database.problems().iter().map(|p| p.line).collect();
    assert_eq!(lines, (0..bad.len()).map(|i| 3 * i + 1).collect::<Vec<_>>());
    assert!(
        database.problems()[2].to_string().contains("version 2"),
        "{:?}",
        database.problems()
    );
}

#[test]
fn a_line_cut_short_costs_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    append(&path, &[measurement(1), measurement(2)]);
    let whole = std::fs::read(&path).unwrap();
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in second..whole.len() - 1 {
        std::fs::write(&path, &whole[..cut]).unwrap();
        append(&path, &[measurement(3)]);
        let database = Database::open(&path);
        let torn = usize::from(cut > second);
        assert_eq!(
            (database.records().count(), database.problems().len()),
            (2, torn),
            "cut at {cut}"
        );
    }
}

#[test]
fn two_writers_lose_and_mix_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || (0..50).for_each(|i| append(path, &[measurement(100 * writer + i)])));
        }
    });
    let database = Database::open(&path);
    assert_eq!(database.problems(), []);
    let mut found: Vec<String> = database.records().map(Record::to_line).collect();
    let mut wanted: Vec<String> = (0..4)
        .flat_map(|w| (0..50).map(move |i| measurement(100 * w + i).to_line()))
        .collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn the_nearest_class_within_reach_wins_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    append(
        &path,
        &[
            winner(key("H100", 1024), "rows=64"),
            winner(key("H100", 4096), "rows=16"),
            winner(key("H100", 4096), "rows=128"),
        ],
    );
    let database = Database::open(&path);
    let find = |p| {
        let class = Class::new(16, [("P", p)]);
        let found = database.find(&query(&class, None));
        found.map(|t| (t.winner.schedules[0].clone(), t.distance, t.origin()))
    };
    let (schedule, distance, origin) = find(5000).unwrap();
    assert_eq!((schedule.as_str(), distance), ("rows=128", 0));
    assert!(
        origin.contains(":3, tuned on H100, driver 13000, for align=16 P=4096.."),
        "{origin}"
    );
    let (schedule, distance, origin) = find(16384).unwrap();
    assert_eq!((schedule.as_str(), distance), ("rows=128", 2));
    assert!(origin.contains("nearest"), "{origin}");
    assert_eq!(
        find(1).unwrap_err(),
        "tuned for shapes align=16 P=1024.., align=16 P=4096.. only"
    );
}

#[test]
fn results_of_another_device_or_version_are_named_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    append(&path, &[winner(key("H100", 4096), "rows=128")]);
    let database = Database::open(&path);
    let class = Class::new(16, [("P", 4096)]);
    let good = query(&class, Some(("H100", 13000)));
    assert!(database.find(&good).is_ok());
    let refused = |query: Query<'_>| database.find(&query).map(|t| t.origin()).unwrap_err();
    let device = Some(("H200", 13000));
    assert_eq!(refused(Query { device, ..good }), "tuned for device H100 only");
    let device = Some(("H100", 12080));
    assert_eq!(refused(Query { device, ..good }), "tuned for driver 13000 only");
    assert_eq!(
        refused(Query {
            compiler: Some("0.2.0"),
            ..good
        }),
        "tuned for einloom 0.1.0 only"
    );
    assert_eq!(
        refused(Query {
            target: "sm_80",
            ..good
        }),
        "tuned for target sm_90a only"
    );
    assert_eq!(refused(Query { spec: "x", ..good }), "none is tuned for this spec");
    append(&path, &[winner(key("H200", 4096), "rows=64")]);
    let database = Database::open(&path);
    let reason = database.find(&query(&class, None)).map(|t| t.origin()).unwrap_err();
    assert_eq!(reason, "tuned for several devices: H100, H200");
}

#[test]
fn a_locked_file_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let mut held = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    held.lock().unwrap();
    let line = measurement(1).to_line();
    let (front, back) = line.split_at(20);
    std::thread::scope(|scope| {
        held.write_all(front.as_bytes()).unwrap();
        let other = scope.spawn(|| append(&path, &[measurement(2)]));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!other.is_finished());
        held.write_all(format!("{back}\n").as_bytes()).unwrap();
        held.unlock().unwrap();
    });
    let database = Database::open(&path);
    assert_eq!((database.records().count(), database.problems().len()), (2, 0));
}

/// Not a test by itself: the process that the next test starts and kills.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os("EINLOOM_TEST_APPEND_TO") else {
        return;
    };
    let path = std::path::PathBuf::from(path);
    let mut writer = Writer::open(&path).unwrap();
    for i in 0.. {
        writer.append(&measurement(i)).unwrap();
    }
}

#[test]
fn killed_tuners_lose_at_most_the_record_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.measured.jsonl");
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed"])
            .env("EINLOOM_TEST_APPEND_TO", &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut before = 0;
    for round in 0..6 {
        // Two at once; both are killed.
        let mut children = [start(), start()];
        let waited = std::time::Instant::now();
        // At least one record of this round, whatever the machine's speed.
        while Database::open(&path).records().count() <= before && waited.elapsed().as_secs() < 60 {
            std::thread::sleep(std::time::Duration::from_millis(20 + 7 * round));
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let database = Database::open(&path);
        let count = database.records().count();
        assert!(count > before, "round {round}: {count} records");
        assert!(
            database.problems().len() <= 2 * (round as usize + 1),
            "{:?}",
            database.problems()
        );
        before = count;
    }
    // The lock of the dead is free.
    append(&path, &[winner(key("H100", 4096), "rows=1")]);
    assert_eq!(Database::open_all(&path).winners().len(), 1);
}
