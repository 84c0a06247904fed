"""Writes the data of `../ranking.rs` from databases: `python sample.py FOLDER.. > h100.tsv`.

A FOLDER holds NAME.jsonl (winners, which name the choices of a specialisation) and NAME.measured.jsonl. Cases of a later folder replace equal ones of an earlier
one. Of every case all timed candidates are kept that are less than twice as slow as the best, at most LIMIT, thinned evenly behind the fastest third.
Lines `table` that stand in the h100.tsv beside this file are kept; a test of the compiler says what they have to be."""

import json
import sys
from pathlib import Path

LIMIT = 90
FILES = {"softcap_attention": "softcap", "prefix_lm": "prefix-lm", "sliding_window": "sliding-window", "window_sinks": "window-sinks"}
SCALARS = {"W": 1024, "sinks": 4}
# Fields that schedules had once: a schedule that used one is left out.
GONE = ("flat",)


def schedule(text):
    """The text without fields that are gone, or None."""
    fields = [field.split("=") for field in text.split(",")]
    if any(name in GONE and value != "0" for name, value in fields):
        return None
    return ",".join(f"{name}={value}" for name, value in fields if name not in GONE)


def tables():
    """Lines `table` by the line of their case."""
    found, case = {}, None
    for line in Path(__file__).with_name("h100.tsv").read_text().splitlines():
        if line.startswith("case"):
            case = line
        elif line.startswith("table"):
            found.setdefault(case, []).append(line)
    return found


def read(folder, cases):
    for path in sorted(Path(folder).glob("*.measured.jsonl")):
        cascade = path.name.split(".")[0]
        choices, sizes, found = {}, {}, {}
        for line in open(path.with_name(f"{cascade}.jsonl")):
            winner = json.loads(line)
            choices[winner["key"]["spec"]] = dict(part.split("=") for part in winner["choice"].split(", "))
            sizes[winner["key"]["spec"], json.dumps(winner["shape"])] = winner["bytes"]
        for line in open(path):
            record = json.loads(line)
            if record.get("kind") == "measurement" and record["status"] == "timed" and len(record["schedules"]) == 1:
                case = found.setdefault((record["key"]["spec"], json.dumps(record["shape"])), {})
                text = schedule(record["schedules"][0])
                if text:
                    case[text] = record["us"]["median"]
        for (spec, shape), times in found.items():
            if spec in choices:
                numbers = {"e": choices[spec]["e"], **json.loads(shape), **SCALARS, "bytes": int(sizes.get((spec, shape), 0))}
                name = " ".join(["case", FILES.get(cascade, cascade), *(f"{k}={v}" for k, v in numbers.items())])
                cases[name] = times


def main(folders):
    known, cases = tables(), {}
    for folder in folders:
        read(folder, cases)
    for name in sorted(cases, key=str.split):
        best = min(cases[name].values())
        rows = sorted((us, text) for text, us in cases[name].items() if us < 2 * best)
        first = LIMIT // 3
        rest = rows[first:]
        step = max(1.0, len(rest) / (LIMIT - first))
        rows = rows[:first] + [rest[int(i * step)] for i in range(LIMIT - first) if int(i * step) < len(rest)]
        print(name, *known.get(name, []), sep="\n")
        for us, text in rows:
            print(f"{us:.1f} {text}")


main(sys.argv[1:])
