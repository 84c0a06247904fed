"""Side by side: einloom kernels against PyTorch's attention backends, in one process.

    python bench.py FOLDER [--json FILE] [--rounds N]

FOLDER holds what `einloom compile --target sm_90a` wrote for `full` and `causal`. Every contestant of a case is warmed 50 ms and timed 50 ms, in random
order, over several rounds; the median of the rounds counts. Inputs are random normal; outputs are checked against float64 first.
"""

import argparse
import json
import math
import pathlib
import random
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from einmod import Kernel

PEERS = {"FlashAttention-2": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
# Batch times sequence, heads times width: the same work for every width.
TOKENS, MODEL = 16384, 2048


def peer(backend, q, k, v, causal):
    def run():
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return run


def milliseconds(run, budget):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    once = max(start.elapsed_time(end), 1e-3)
    count = max(3, int(budget / once))
    start.record()
    for _ in range(count):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / count


def error(out, reference):
    return ((out.double() - reference).norm() / reference.norm()).item()


def exact(q, k, v, causal, rows):
    """float64 attention of the given query rows of the first head."""
    s = q[0, 0, rows].double() @ k[0, 0].double().T / math.sqrt(q.shape[-1])
    if causal:
        s = s.masked_fill(torch.arange(k.shape[2], device="cuda")[None, :] > rows[:, None], float("-inf"))
    return torch.softmax(s, -1) @ v[0, 0].double()


def case(kernel, causal, length, width, rounds):
    batch, heads = TOKENS // length, MODEL // width
    generator = torch.Generator(device="cuda").manual_seed(length + width)
    q, k, v = (
        torch.randn(batch, heads, length, width, device="cuda", generator=generator).bfloat16() for _ in range(3)
    )
    outputs = {
        p["name"]: torch.full((batch, heads, length) + ((width,) if p["name"] == "O" else ()), float("nan"),
                              device="cuda", dtype=torch.bfloat16 if p["name"] == "O" else torch.float32)
        for p in kernel.manifest["tensors"] if p["role"] == "output"
    }
    runs = {"einloom": kernel.prepare({"Q": q, "K": k, "V": v, **outputs})}
    for name, backend in PEERS.items():
        runs[name] = peer(backend, q, k, v, causal)
    runs["einloom"]()
    rows = torch.randint(0, length, (256,), device="cuda", generator=generator)
    reference = exact(q, k, v, causal, rows)
    errors = {"einloom": error(outputs["O"][0, 0, rows], reference)}
    for name in list(PEERS):
        try:
            errors[name] = error(runs[name]()[0, 0, rows], reference)
        except RuntimeError:
            del runs[name]
    samples = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            milliseconds(runs[name], 50)
            samples[name].append(milliseconds(runs[name], 50))
    flops = 4 * batch * heads * length * length * width / (2 if causal else 1)
    return {
        "causal": causal, "S": length, "D": width, "H": heads, "B": batch,
        "tflops": {name: flops / statistics.median(s) / 1e9 for name, s in samples.items()}, "error": errors,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", type=lambda t: [int(w) for w in t.split(",")], default=[64, 128, 256])
    parser.add_argument("--lengths", type=lambda t: [int(w) for w in t.split(",")], default=[1024, 4096, 16384])
    options = parser.parse_args()
    random.seed(0)
    results = []
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    for width in options.widths:
        for causal, name in ((False, "full"), (True, "causal")):
            kernel = Kernel(options.folder / f"{name}-e{width}-Tbf16.einmod")
            for length in options.lengths:
                result = case(kernel, causal, length, width, options.rounds)
                results.append(result)
                ours = result["tflops"]["einloom"]
                row = "  ".join(f"{n} {t:.0f} ({ours / t:.2f})" for n, t in result["tflops"].items() if n != "einloom")
                kind = "causal" if causal else "dense"
                print(f"D{width} {kind} S{length}: einloom {ours:.0f} TFLOP/s  error {result['error']['einloom']:.2e}"
                      f" ({result['error'].get('FlashAttention-2', 0):.2e})  {row}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"device": torch.cuda.get_device_name(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
