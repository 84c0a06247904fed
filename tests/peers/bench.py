"""Side by side: einloom kernels against PyTorch's attention backends, in one process.

    python bench.py --ours FOLDER --ours deep=FOLDER2 --suite dense --suite variants --json out.json
    python bench.py --ours a=x/causal-e128-Tbf16.einmod --ours b=y/causal-e128-Tbf16.einmod --cases causal --widths 128
    python bench.py --table table.json --json out.json
    python bench.py --ours FOLDER --check

`--ours [LABEL=]PATH` is a kernel file or a folder of them (`einloom compile --target sm_90a --output FOLDER`), and may be repeated: every kernel whose
cascade and width fit a case takes part in it. A table is a list of {"case": "causal", "D": 128, "S": 4096, "B": 4, "H": 16, "ours": {"label": "path"}};
B, H and ours may be left out.

Every contestant of a case is warmed 50 ms and timed 50 ms, in random order, over several rounds; the median of the rounds counts. Inputs are random
normal. Before that each contestant runs once, ours into memory poisoned with NaN, and sampled rows are compared with float64; a wrong one is
reported and not timed. `--check` compares every row on small and odd shapes, each kernel in a process of its own, and times nothing.
"""

import argparse
import faulthandler
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time

import torch
import torch._dynamo

import cases
from einmod import TYPES, Kernel, read
from peers import PEERS, Absent, raise_recompile_limit

# Relative error in the 2-norm over the compared rows. bf16 outputs alone give about 2e-3.
TOLERANCE = 2e-2


def milliseconds(run, budget):
    """Mean time of a call over about `budget` ms of calls."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    count = max(3, int(budget / max(start.elapsed_time(end), 1e-3)))
    start.record()
    for _ in range(count):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / count


def outputs(kernel, case):
    """Poisoned outputs by name, each followed by a guard that no kernel may touch."""
    made = {}
    for param in kernel.manifest["tensors"]:
        if param["role"] == "output":
            rest = (case.width,) if len(param["dims"]) == 4 else ()
            shape = (case.batch, case.heads, case.length) + rest
            count = 1
            for extent in shape:
                count *= extent
            memory = torch.full((count + 1024,), float("nan"), dtype=TYPES[param["dtype"]], device="cuda")
            made[param["name"]] = (memory[:count].view(shape), memory[count:])
    return made


def ours(kernel, case, q, k, v):
    """A function that launches the kernel and returns O."""
    made = outputs(kernel, case)
    tensors = {"Q": q, "K": k, "V": v, **case.extra, **{name: tensor for name, (tensor, _) in made.items()}}
    launch = kernel.prepare(tensors, case.scalars)

    def run():
        launch()
        return made["O"][0]

    run.guards = [guard for _, guard in made.values()]
    return run


def norm_error(found, expected):
    return ((found.double() - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def sampled_error(case, out, q, k, v, count=128):
    """The worst of three heads, over sampled rows; infinite where anything is not finite."""
    if not torch.isfinite(out).all():
        return float("inf")
    worst = 0.0
    for b, h in {(0, 0), (case.batch - 1, case.heads - 1), (0, case.heads // 2)}:
        rows = torch.randint(0, case.length, (min(count, case.length),), device="cuda")
        worst = max(worst, norm_error(out[b, h, rows], case.reference(q, k, v, b, h, rows)))
    return worst


def first_run(case, make, operands, keep_wrong):
    """The contestant and its error; a reason instead of the error where it does not compute the case."""
    try:
        run = make()
        out = run()
        torch.cuda.synchronize()
        error = sampled_error(case, out, *operands)
        if any(not torch.isnan(guard.float()).all() for guard in getattr(run, "guards", [])):
            return None, "wrote past an output"
        if error < TOLERANCE or keep_wrong:
            return run, error
        return None, f"wrong: error {error:.1e}"
    except Absent as reason:
        return None, str(reason)
    except Exception as error:  # peers raise anything; a device that has faulted raises again here and ends the run
        torch.cuda.synchronize()
        text = (str(error).strip().splitlines() or [""])[0]
        return None, f"{type(error).__name__}: {text[:200]}"


def contest(case, kernels, peers, rounds, keep_wrong=False):
    """Times of every contestant, their errors, and why others are missing."""
    torch._dynamo.reset()
    operands = case.operands()
    makers = {label: (lambda kernel=kernel: ours(kernel, case, *operands)) for label, kernel in kernels.items()}
    makers.update({name: (lambda make=PEERS[name]: make(case, *operands)) for name in peers})
    runs, errors, absent = {}, {}, {}
    for name, make in makers.items():
        run, result = first_run(case, make, operands, keep_wrong and name in kernels)
        if run is None:
            absent[name] = result
        else:
            runs[name], errors[name] = run, result
    samples = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            milliseconds(runs[name], 50)
            samples[name].append(milliseconds(runs[name], 50))
    flops = case.flops()
    return {
        "case": case.name, "D": case.width, "S": case.length, "B": case.batch, "H": case.heads, "G": case.kv_heads,
        "gflop": flops / 1e9, "ours": list(kernels), "ms": {n: statistics.median(s) for n, s in samples.items()},
        "tflops": {n: flops / statistics.median(s) / 1e9 for n, s in samples.items()},
        "samples_ms": samples, "error": errors, "absent": absent,
    }


def find_kernels(specs):
    """Kernel files by label: [(label, path, cascade, width)]."""
    found = []
    for text in specs:
        label, _, path = ("", "", text) if pathlib.Path(text).exists() or "=" not in text else text.partition("=")
        path = pathlib.Path(path)
        files = sorted(path.glob("*.einmod")) if path.is_dir() else [path]
        if not files:
            sys.exit(f"error: no .einmod in {path}")
        for file in files:
            manifest, _ = read(file)
            chosen = manifest["specialisation"]
            if chosen.get("T", "bf16") == "bf16":
                name = label or (path.name if path.is_dir() else file.stem)
                found.append((name, file, manifest["cascade"], int(chosen.get("e", 0))))
    return found


def entrants(found, case):
    """Kernels of a case by label; one label with several fitting files is told apart by their names."""
    fitting = [(label, file) for label, file, cascade, width in found if (cascade, width) == (case.cascade, case.width)]
    labels = [label for label, _ in fitting]
    return {label if labels.count(label) == 1 else f"{label}:{file.stem}": file for label, file in fitting}


def plan(options):
    """[(case, {label: path})] in the order of the report."""
    found = find_kernels(options.ours)
    planned = []
    if options.table:
        for row in json.loads(options.table.read_text()):
            case = cases.build(row["case"], row["D"], row["S"], row.get("B"), row.get("H"))
            planned.append((case, row["ours"] if "ours" in row else entrants(found, case)))
        return planned
    suites = options.suite or ([] if options.cases else ["dense"])
    names = list(options.cases)
    names += ["dense", "causal"] if "dense" in suites else []
    names += list(cases.VARIANTS) if "variants" in suites else []
    for width in options.widths:
        for name in names:
            variant = name in cases.VARIANTS
            if variant and width != options.variant_width and name not in options.cases:
                continue
            for length in options.variant_lengths if variant else options.lengths:
                case = cases.build(name, width, length)
                planned.append((case, entrants(found, case)))
    return planned


def table(results):
    """A markdown table of TFLOP/s; in brackets the best of ours over each peer."""
    own = list(dict.fromkeys(label for r in results for label in r["ours"]))
    others = [p for p in PEERS if any(p in r["tflops"] for r in results)]
    lines = ["| case | D | S | BxH | " + " | ".join(own + others) + " | ours / best peer |"]
    lines.append("| --- " * (len(own) + len(others) + 5) + "|")
    for r in results:
        rate = r["tflops"]
        best = max((rate[label] for label in own if label in rate), default=None)
        cells = [f"{rate[label]:.0f}" if label in rate else "-" for label in own]
        for peer in others:
            ratio = f" ({best / rate[peer]:.2f})" if best and peer in rate else ""
            cells.append(f"{rate[peer]:.0f}{ratio}" if peer in rate else "-")
        rivals = [rate[p] for p in others if p in rate]
        cells.append(f"**{best / max(rivals):.2f}**" if best and rivals else "-")
        lines.append(f"| {r['case']} | {r['D']} | {r['S']} | {r['B']}x{r['H']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def standard_peers(case):
    """FlexAttention has no part in dense and causal attention unless asked for: it compiles for seconds and is not the best there."""
    return [p for p in PEERS if case.name not in ("dense", "causal") or not p.startswith("flex")]


def matmul_rate():
    """TFLOP/s of cuBLAS on 8192^3 in bf16: what the card can do now."""
    a, b = (torch.randn(8192, 8192, device="cuda").bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    milliseconds(lambda: torch.mm(a, b, out=out), 50)
    times = [milliseconds(lambda: torch.mm(a, b, out=out), 50) for _ in range(5)]
    return 2 * 8192**3 / statistics.median(times) / 1e9


def bench(options):
    raise_recompile_limit()
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
              "cublas_tflops": matmul_rate(), "kernels": {}, "results": []}
    print(f"{report['device']}, torch {report['torch']}, cuDNN {report['cudnn']}, "
          f"cuBLAS 8192^3 bf16 {report['cublas_tflops']:.0f} TFLOP/s", flush=True)
    loaded = {}
    for case, files in plan(options):
        faulthandler.dump_traceback_later(options.case_timeout, exit=True)
        kernels, broken = {}, {}
        for label, file in files.items():
            try:
                if str(file) not in loaded:
                    loaded[str(file)] = Kernel(file)
                    report["kernels"][str(file)] = loaded[str(file)].facts()
                    print(f"{label} {file}: {report['kernels'][str(file)]}", flush=True)
                kernels[label] = loaded[str(file)]
            except RuntimeError as error:
                broken[label] = str(error)
        peers = options.peers if options.peers is not None else standard_peers(case)
        result = contest(case, kernels, peers, options.rounds, options.time_wrong)
        result["absent"].update(broken)
        report["results"].append(result)
        row = "  ".join(f"{n} {t:.0f} [{result['error'][n]:.1e}]" for n, t in result["tflops"].items())
        print(f"{case.key()}: {row}", flush=True)
        for name, reason in result["absent"].items():
            print(f"    {name}: {reason}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1))
        faulthandler.cancel_dump_traceback_later()
    text = table(report["results"])
    print("\n" + text)
    if options.markdown:
        options.markdown.write_text(text + "\n")


# Queries, keys: full tiles, tails of every kind, fewer queries than keys, one row.
CHECK_SHAPES = [(128, 128), (1, 1), (63, 63), (257, 257), (1000, 1000), (2048, 2048), (1, 513), (200, 1111)]


# Windows that are shorter than the sequences.
CHECK_ARGUMENTS = {"sliding-window": {"window": 100}, "window-sinks": {"window": 100}, "prefix-lm": {"prefix": 70}}


def wait(what, limit=20.0):
    """Waits for the device; a kernel that does not end ends this process."""
    event = torch.cuda.Event()
    event.record()
    start = time.monotonic()
    try:
        while not event.query():
            if time.monotonic() - start > limit:
                print(f"FAIL {what}: still running after {limit:.0f} s", flush=True)
                os._exit(3)
            time.sleep(0.001)
    except RuntimeError as fault:
        print(f"FAIL {what}: {str(fault).splitlines()[0]}", flush=True)
        os._exit(3)


def check_cases(cascade, width):
    """Small cases of a cascade: heads that are no power of two, grouped keys where the spec has them."""
    for name, make in cases.ALL.items():
        for queries, keys in CHECK_SHAPES:
            if name in ("dense", "causal"):
                groups = (6, 2) if name == "causal" else (6,)
                for kv_heads in groups:
                    case = make(2, 6, queries, width, kv_heads=kv_heads, keys=keys)
                    if case.cascade == cascade:
                        yield case
            elif queries == keys and name != "grouped" and (name != "document" or queries > 12):
                case = make(2, 6, queries, width, **CHECK_ARGUMENTS.get(name, {}))
                if case.cascade == cascade:
                    yield case


def check_one(path):
    """Every row of every small case, rows dense and heads inside rows. Returns the number of failures."""
    kernel = Kernel(path)
    print(f"{path}: {kernel.facts()}", flush=True)
    width = int(kernel.manifest["specialisation"].get("e", 0))
    failures, count = 0, 0
    for case in check_cases(kernel.manifest["cascade"], width):
        for transposed in (False, True):
            what = f"{case.name} P{case.length} M{case.keys} H{case.heads}:{case.kv_heads} D{width}" + " bshd" * transposed
            q, k, v = case.operands(transposed)
            try:
                run = ours(kernel, case, q, k, v)
            except AssertionError as reason:
                print(f"skip {what}: {reason}", flush=True)
                continue
            out = run()
            wait(what)
            rows = torch.arange(case.length, device="cuda")
            pairs = [(b, h) for b in range(case.batch) for h in range(case.heads)]
            errors = [norm_error(out[b, h], case.reference(q, k, v, b, h, rows)) for b, h in pairs]
            worst = max(e if e == e else float("inf") for e in errors)
            guarded = all(torch.isnan(guard.float()).all() for guard in run.guards)
            fine = worst < TOLERANCE and guarded
            failures, count = failures + (not fine), count + 1
            if not fine:
                wrong = sum(not e < TOLERANCE for e in errors)
                print(f"FAIL {what}: error {worst:.2e} in {wrong} of {len(pairs)} heads"
                      + ("" if guarded else ", wrote past an output"), flush=True)
    print(f"{'FAIL' if failures or not count else 'ok'}: {count - failures} of {count} cases of {path}", flush=True)
    return failures + (count == 0)


def check(options):
    """Each kernel file in a process of its own, so that a fault or a hang is one kernel's."""
    files = {str(file): None for _, file, _, _ in find_kernels(options.ours)}
    if len(files) == 1:
        sys.exit(min(check_one(next(iter(files))), 1))
    failed = 0
    for file in files:
        command = [sys.executable, __file__, "--check", "--ours", file]
        try:
            status = subprocess.run(command, timeout=options.case_timeout).returncode
        except subprocess.TimeoutExpired:
            print(f"FAIL {file}: not done after {options.case_timeout} s", flush=True)
            status = 1
        failed += status != 0
    print(f"{len(files) - failed} of {len(files)} kernel files pass", flush=True)
    sys.exit(min(failed, 1))


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", action="append", default=[], metavar="[LABEL=]PATH")
    parser.add_argument("--suite", action="append", choices=["dense", "variants"])
    parser.add_argument("--cases", type=lambda t: t.split(","), default=[], help=",".join(cases.ALL))
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--widths", type=numbers, default=[64, 128, 256])
    parser.add_argument("--lengths", type=numbers, default=[1024, 4096, 16384])
    parser.add_argument("--variant-width", type=int, default=128)
    parser.add_argument("--variant-lengths", type=numbers, default=[8192])
    parser.add_argument("--peers", type=lambda t: [p for p in t.split(",") if p],
                        help=",".join(PEERS) + "; flex and flex-flash by default for variants alone")
    parser.add_argument("--time-wrong", action="store_true", help="time kernels of ours even if their output is wrong")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case-timeout", type=float, default=240, help="seconds until the process gives up")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    unknown = [n for n in options.cases if n not in cases.ALL] + [p for p in options.peers or [] if p not in PEERS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    random.seed(0)
    torch.manual_seed(0)
    check(options) if options.check else bench(options)


if __name__ == "__main__":
    main()
