"""Loads an einloom kernel file (.einmod) into a process that has PyTorch, and launches it on torch tensors.

The manifest is the contract: extents from tensor dimensions, workspaces allocated here, kernels launched in order on torch's
current stream. Only what a benchmark needs is checked; the Rust runtime checks everything.
"""

import ctypes
import json

import torch

TYPES = {
    "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64, "i32": torch.int32,
    "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool, "f64": torch.float64,
}
SCALARS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "f32": ctypes.c_float, "bool": ctypes.c_int32}
OPS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a // b,
    "ceil_div": lambda a, b: -(-a // b), "mod": lambda a, b: a % b, "max": max, "min": min,
}

cuda = ctypes.CDLL("libcuda.so.1")


def check(status, what):
    if status != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"{what}: {status} {text.value}")


def evaluate(expr, extents, scalars):
    """Value of a `DimExpr` of the manifest."""
    (op, arg), = expr.items()
    if op == "const":
        return arg
    if op == "extent":
        return extents[arg]
    if op == "scalar":
        return scalars[arg]
    return OPS[op](*(evaluate(a, extents, scalars) for a in arg))


class Kernel:
    """One artifact. Call it with tensors and scalars by name; outputs are tensors too."""

    def __init__(self, path):
        data = open(path, "rb").read()
        header, body = data.split(b"\n", 1)
        length = int(header.split()[2])
        self.manifest = json.loads(body[:length])
        torch.zeros(1, device="cuda")  # torch's context is the current one from here on
        self.module = ctypes.c_void_p()
        check(cuda.cuModuleLoadData(ctypes.byref(self.module), body[length + 1 :] + b"\0"), f"load {path}")
        self.functions = []
        for kernel in self.manifest["kernels"]:
            function = ctypes.c_void_p()
            check(cuda.cuModuleGetFunction(ctypes.byref(function), self.module, kernel["entry"].encode()), "function")
            check(cuda.cuFuncSetAttribute(function, 8, kernel["dynamic_shared"]), "shared memory")
            self.functions.append(function)

    def prepare(self, tensors, scalars=None):
        """Checks and packs a call; returns a function that launches it."""
        scalars = scalars or {}
        manifest = self.manifest
        values = [scalars.get(s["name"]) for s in manifest["scalars"]]
        extents = []
        for symbol in manifest["extents"]:
            (kind, source), = symbol["source"].items()
            if kind == "dims":
                found = {tensors[manifest["tensors"][d["tensor"]]["name"]].shape[d["dim"]] for d in source}
                assert len(found) == 1, f"extent {symbol['name']} disagrees: {found}"
                extents.append(found.pop())
            else:
                extents.append(evaluate(source, extents, values))
        bound = []
        for param in manifest["tensors"]:
            shape = [evaluate(d["extent"], extents, values) for d in param["dims"]]
            if param["role"] == "workspace":
                bound.append(torch.empty(shape, dtype=TYPES[param["dtype"]], device="cuda"))
                continue
            tensor = tensors[param["name"]]
            assert list(tensor.shape) == shape and tensor.dtype == TYPES[param["dtype"]], (param["name"], shape)
            bound.append(tensor)
        launches = []
        for kernel, function in zip(manifest["kernels"], self.functions):
            args = []
            for arg in kernel["args"]:
                (kind, value), = arg.items()
                if kind == "tensor_ptr":
                    args.append(ctypes.c_uint64(bound[value].data_ptr()))
                elif kind == "tensor_stride":
                    args.append(ctypes.c_int64(bound[value["tensor"]].stride(value["dim"])))
                elif kind == "extent":
                    args.append(ctypes.c_int64(extents[value]))
                elif kind == "extent32":
                    args.append(ctypes.c_int32(extents[value]))
                else:
                    args.append(SCALARS[manifest["scalars"][value]["dtype"]](values[value]))
            packed = (ctypes.c_void_p * len(args))(*[ctypes.cast(ctypes.pointer(a), ctypes.c_void_p) for a in args])
            grid = [evaluate(g, extents, values) for g in kernel["grid"]]
            launches.append((function, grid, kernel["block"], kernel["dynamic_shared"], packed, args))

        def launch():
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            for function, grid, block, shared, packed, _ in launches:
                check(cuda.cuLaunchKernel(function, *grid, block, 1, 1, shared, stream, packed, None), "launch")

        launch.keep = (bound, launches)
        return launch
