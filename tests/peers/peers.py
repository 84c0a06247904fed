"""The contestants besides einloom. Each maker takes a case and its Q, K, V and gives a function that returns the output; it raises
where it cannot compute the case, and the reason goes into the report."""

import torch
import torch._dynamo
from torch.nn.attention import SDPBackend, sdpa_kernel


class Absent(Exception):
    """The contestant does not compute this case; the text says why."""


def sdpa(backend):
    def make(case, q, k, v):
        if not case.plain:
            raise Absent("no such mask or score")
        if case.causal and case.keys != case.length:
            raise Absent("aligns causal masks at the first key")
        grouped = case.kv_heads != case.heads

        def run():
            with sdpa_kernel(backend):
                return torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, is_causal=case.causal, enable_gqa=grouped)

        return run

    return make


def flash_attention_4(case, q, k, v):
    if not case.plain:
        raise Absent("no such mask or score without FlexAttention")
    try:
        from flash_attn.cute import flash_attn_func
    except ImportError as error:
        raise Absent(f"not installed: {error}") from error
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))

    def run():
        out = flash_attn_func(q, k, v, causal=case.causal)
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)

    return run


def flex(options):
    def make(case, q, k, v):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        if options and not flash_backend():
            raise Absent("flash_attn.cute is not installed")
        block_mask = None
        if case.mask is not None:
            block_mask = create_block_mask(
                case.mask, case.batch if case.per_batch else None, None, case.length, case.keys, device="cuda")
        compiled = torch.compile(flex_attention, dynamic=False)
        grouped = case.kv_heads != case.heads

        def run():
            return compiled(q, k, v, score_mod=case.score, block_mask=block_mask, enable_gqa=grouped,
                            kernel_options=options)

        return run

    return make


def flash_backend():
    import importlib.util

    try:
        return importlib.util.find_spec("flash_attn.cute") is not None
    except ImportError:
        return False


def raise_recompile_limit():
    """Past the limit torch.compile would fall back to materialised scores without a word."""
    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):
        if hasattr(config, name):
            setattr(config, name, 256)
            return


PEERS = {
    "cudnn": sdpa(SDPBackend.CUDNN_ATTENTION),
    "fa2": sdpa(SDPBackend.FLASH_ATTENTION),
    "fa4": flash_attention_4,
    "flex": flex(None),
    "flex-flash": flex({"BACKEND": "FLASH"}),
}
