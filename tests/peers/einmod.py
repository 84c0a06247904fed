"""Loads an einloom kernel file (.einmod) into a process that has PyTorch, and launches it on torch tensors.

The manifest is the contract: extents from tensor dimensions, workspaces and tensor map descriptors made here, kernels launched in
order on torch's current stream. Only what a benchmark needs is checked; the Rust runtime checks everything. All driver calls go
through libcuda by ctypes, so nothing but torch has to be installed.
"""

import ctypes
import json

import torch

FORMAT_VERSION = 2
TYPES = {
    "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64, "i32": torch.int32,
    "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool, "f64": torch.float64,
}
SCALARS = {"i32": ctypes.c_int32, "i64": ctypes.c_int64, "f32": ctypes.c_float, "bool": ctypes.c_int32}
OPS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a // b,
    "ceil_div": lambda a, b: -(-a // b), "mod": lambda a, b: a % b, "max": max, "min": min,
}
# CUtensorMapDataType and CUtensorMapSwizzle of the driver's header.
MAP_TYPES = {"i16": 1, "u32": 2, "i32": 4, "f16": 6, "f32": 7, "bf16": 9}
SWIZZLES = {"b128": 3}
PROMOTE_256, NO_INTERLEAVE, FILL_ZEROS = 3, 0, 0
# CUfunction_attribute.
LOCAL_BYTES, REGISTERS, MAX_DYNAMIC_SHARED = 3, 4, 8

cuda = ctypes.CDLL("libcuda.so.1")


def check(status, what):
    if status != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(status, ctypes.byref(text))
        raise RuntimeError(f"{what}: {status} {(text.value or b'').decode()}")


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


def read(path):
    """Manifest and PTX of a kernel file."""
    data = open(path, "rb").read()
    header, body = data.split(b"\n", 1)
    words = header.split()
    if words[0] != b"einloom-kernel" or int(words[1]) != FORMAT_VERSION:
        raise RuntimeError(f"{path} is no kernel file of version {FORMAT_VERSION}; compile it again")
    length = int(words[2])
    return json.loads(body[:length]), body[length + 1 :]


def load(ptx, path):
    """The driver's module of a PTX text; a failure carries the assembler's log."""
    size = 16384
    log = ctypes.create_string_buffer(size)
    # CU_JIT_ERROR_LOG_BUFFER and its size.
    options = (ctypes.c_int * 2)(5, 6)
    values = (ctypes.c_void_p * 2)(ctypes.addressof(log), size)
    module = ctypes.c_void_p()
    status = cuda.cuModuleLoadDataEx(ctypes.byref(module), ctypes.c_char_p(ptx + b"\0"), 2, options, values)
    check(status, f"load {path}: {log.value.decode(errors='replace')}")
    return module


def dense_strides(param, shape):
    """Row-major strides, each rounded up to its multiple."""
    strides, following = [], 1
    for dim, extent in zip(reversed(param["dims"]), reversed(shape)):
        multiple = max(dim["stride_multiple"], 1)
        following = -(-following // multiple) * multiple
        strides.append(following)
        following *= max(extent, 1)
    return strides[::-1], following


class Descriptor:
    """A tensor map: 128 bytes aligned to 128, passed by value."""

    def __init__(self, param, desc, tensor):
        rank, size = len(param["dims"]), tensor.element_size()
        sides = [1] * rank
        if desc["row_dim"] is not None:
            sides[desc["row_dim"]] = desc["rows"]
        sides[-1] = desc["inner"]
        self.tensor = tensor
        if tensor.numel() == 0:
            # A descriptor has no extent of 0; one element that is 0 reads the same: zeros everywhere.
            self.tensor = torch.zeros(64, dtype=torch.int32, device="cuda")
            extents, strides = [1] * rank, [16] * (rank - 1)
        else:
            extents, strides = list(reversed(tensor.shape)), []
            assert tensor.stride(-1) == 1 or extents[0] == 1, f"{param['name']}: the last dimension is not contiguous"
            for d in reversed(range(rank - 1)):
                inner = strides[-1] if strides else size
                dense = -(-inner * tensor.shape[d + 1] // 16) * 16
                single = dense if 0 < dense < 1 << 40 else 16
                strides.append(single if tensor.shape[d] == 1 else tensor.stride(d) * size)
            bad = [s for s in strides if s % 16 or s >= 1 << 40]
            assert not bad, f"{param['name']}: strides of {bad} bytes"
            assert tensor.data_ptr() % 16 == 0, f"{param['name']}: base is not aligned to 16 bytes"
        self.memory = ctypes.create_string_buffer(256)
        self.address = -(-ctypes.addressof(self.memory) // 128) * 128
        status = cuda.cuTensorMapEncodeTiled(
            ctypes.c_void_p(self.address), ctypes.c_int(MAP_TYPES[param["dtype"]]), ctypes.c_uint32(rank),
            ctypes.c_void_p(self.tensor.data_ptr()), (ctypes.c_uint64 * rank)(*extents),
            (ctypes.c_uint64 * rank)(*strides), (ctypes.c_uint32 * rank)(*reversed(sides)),
            (ctypes.c_uint32 * rank)(*[1] * rank), NO_INTERLEAVE, SWIZZLES[desc["swizzle"]], PROMOTE_256, FILL_ZEROS,
        )
        check(status, f"descriptor of {param['name']}: extents {extents} strides {strides} box {sides[::-1]}")


class Kernel:
    """One artifact. `prepare` it with tensors and scalars by name; outputs are tensors too."""

    def __init__(self, path):
        self.path = str(path)
        self.manifest, ptx = read(path)
        torch.zeros(1, device="cuda")  # torch's context is the current one from here on
        self.module = load(ptx, path)
        self.multiprocessors = torch.cuda.get_device_properties("cuda").multi_processor_count
        self.functions = [self.function(kernel) for kernel in self.manifest["kernels"]]

    def function(self, kernel):
        function = ctypes.c_void_p()
        name = ctypes.c_char_p(kernel["entry"].encode())
        check(cuda.cuModuleGetFunction(ctypes.byref(function), self.module, name), "function")
        shared = kernel["dynamic_shared"]
        check(cuda.cuFuncSetAttribute(function, MAX_DYNAMIC_SHARED, shared), f"{shared} bytes of shared memory")
        return function

    def facts(self):
        """For each kernel: registers and local bytes of a thread, blocks that a multiprocessor holds."""
        facts = []
        for kernel, function in zip(self.manifest["kernels"], self.functions):
            values = []
            for which in (REGISTERS, LOCAL_BYTES):
                value = ctypes.c_int()
                check(cuda.cuFuncGetAttribute(ctypes.byref(value), which, function), "attribute")
                values.append(value.value)
            facts.append({"entry": kernel["entry"], "registers": values[0], "local_bytes": values[1],
                          "threads": kernel["block"], "shared": kernel["dynamic_shared"],
                          "resident": self.resident(kernel, function), "persistent": kernel["persistent"]})
        return facts

    def resident(self, kernel, function):
        blocks = ctypes.c_int()
        check(cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            ctypes.byref(blocks), function, ctypes.c_int(kernel["block"]), ctypes.c_size_t(kernel["dynamic_shared"])),
            "occupancy")
        return blocks.value

    def grid(self, kernel, function, extents, values):
        grid = [evaluate(g, extents, values) for g in kernel["grid"]]
        if kernel["persistent"] is not None:
            held = min(kernel["persistent"], max(self.resident(kernel, function), 1)) * self.multiprocessors
            grid[0] = min(grid[0], held)
        return grid

    def extents(self, tensors, values):
        extents = []
        for symbol in self.manifest["extents"]:
            (kind, source), = symbol["source"].items()
            if kind == "dims":
                found = {tensors[self.manifest["tensors"][d["tensor"]]["name"]].shape[d["dim"]] for d in source}
                assert len(found) == 1, f"extent {symbol['name']} disagrees: {found}"
                extents.append(found.pop())
            else:
                extents.append(evaluate(source, extents, values))
        return extents

    def bind(self, tensors, extents, values):
        """The tensors in the manifest's order, workspaces allocated."""
        bound = []
        for param in self.manifest["tensors"]:
            shape = [evaluate(d["extent"], extents, values) for d in param["dims"]]
            if param["role"] == "workspace":
                strides, elements = dense_strides(param, shape)
                memory = torch.empty(elements, dtype=TYPES[param["dtype"]], device="cuda")
                bound.append(memory.as_strided(shape, strides))
                continue
            tensor = tensors[param["name"]]
            assert list(tensor.shape) == shape and tensor.dtype == TYPES[param["dtype"]], (param["name"], shape)
            assert tensor.data_ptr() % param["align"] == 0, f"{param['name']} is not aligned to {param['align']}"
            for d, dim in enumerate(param["dims"]):
                odd = tensor.stride(d) % dim["stride_multiple"]
                assert shape[d] <= 1 or odd == 0, f"{param['name']}: stride {tensor.stride(d)} of dimension {d}"
            bound.append(tensor)
        return bound

    def arguments(self, kernel, bound, extents, values):
        """The arguments, each an object that owns its bytes, and their addresses."""
        owners, addresses = [], []
        for arg in kernel["args"]:
            (kind, value), = arg.items()
            if kind == "map":
                desc = kernel["maps"][value]
                owner = Descriptor(self.manifest["tensors"][desc["tensor"]], desc, bound[desc["tensor"]])
                owners.append(owner)
                addresses.append(owner.address)
                continue
            if kind == "tensor_ptr":
                owner = ctypes.c_uint64(bound[value].data_ptr())
            elif kind == "tensor_stride":
                owner = ctypes.c_int64(bound[value["tensor"]].stride(value["dim"]))
            elif kind == "extent":
                owner = ctypes.c_int64(extents[value])
            elif kind == "extent32":
                owner = ctypes.c_int32(extents[value])
            else:
                owner = SCALARS[self.manifest["scalars"][value]["dtype"]](values[value])
            owners.append(owner)
            addresses.append(ctypes.addressof(owner))
        return owners, (ctypes.c_void_p * len(addresses))(*addresses)

    def prepare(self, tensors, scalars=None):
        """Checks and packs a call; returns a function that launches it."""
        scalars = scalars or {}
        values = [scalars[s["name"]] for s in self.manifest["scalars"]]
        extents = self.extents(tensors, values)
        bound = self.bind(tensors, extents, values)
        clears = [t for t, param in zip(bound, self.manifest["tensors"]) if param["zeroed"]]
        launches = []
        for kernel, function in zip(self.manifest["kernels"], self.functions):
            grid = self.grid(kernel, function, extents, values)
            if 0 in grid:
                continue
            owners, packed = self.arguments(kernel, bound, extents, values)
            launches.append((function, grid, kernel["block"], kernel["dynamic_shared"], packed, owners))

        def launch():
            for tensor in clears:
                tensor.zero_()
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            for function, grid, block, shared, packed, _ in launches:
                check(cuda.cuLaunchKernel(function, *grid, block, 1, 1, shared, stream, packed, None), "launch")

        launch.keep = (bound, launches)
        return launch
