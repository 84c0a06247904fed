"""Writes the data of `../ranking.rs` from a database: `python sample.py FOLDER > h100.tsv`.

FOLDER holds NAME.jsonl (winners, which name the choices of a specialisation) and NAME.measured.jsonl. Of every case all timed candidates are
kept that are less than twice as slow as the best, at most LIMIT, thinned evenly behind the fastest third."""

import json
import sys
from pathlib import Path

LIMIT = int(sys.argv[2]) if len(sys.argv) > 2 else 90
FILES = {"softcap_attention": "softcap", "prefix_lm": "prefix-lm", "sliding_window": "sliding-window", "window_sinks": "window-sinks"}
SCALARS = {"W": 1024, "sinks": 4}

for path in sorted(Path(sys.argv[1]).glob("*.measured.jsonl")):
    cascade = path.name.split(".")[0]
    choices, sizes = {}, {}
    for line in open(path.with_name(f"{cascade}.jsonl")):
        winner = json.loads(line)
        choices[winner["key"]["spec"]] = dict(part.split("=") for part in winner["choice"].split(", "))
        sizes[winner["key"]["spec"], json.dumps(winner["shape"])] = winner["bytes"]
    cases = {}
    for line in open(path):
        record = json.loads(line)
        if record.get("kind") == "measurement" and record["status"] == "timed" and len(record["schedules"]) == 1:
            case = cases.setdefault((record["key"]["spec"], json.dumps(record["shape"])), {})
            case[record["schedules"][0]] = record["us"]["median"]
    for (spec, shape), times in cases.items():
        if spec not in choices:
            continue
        extents = json.loads(shape)
        best = min(times.values())
        rows = sorted((us, text) for text, us in times.items() if us < 2 * best)
        first = LIMIT // 3
        rest = rows[first:]
        step = max(1.0, len(rest) / (LIMIT - first))
        rows = rows[:first] + [rest[int(i * step)] for i in range(LIMIT - first) if int(i * step) < len(rest)]
        numbers = {"e": choices[spec]["e"], **extents, **SCALARS, "bytes": int(sizes.get((spec, shape), 0))}
        print("case", FILES.get(cascade, cascade), *(f"{k}={v}" for k, v in numbers.items()))
        for us, text in rows:
            print(f"{us:.1f} {text}")
