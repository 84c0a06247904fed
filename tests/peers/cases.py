"""The cases of a comparison: shapes, inputs, and the same score and mask functions for FlexAttention and for the reference.

A case names the cascade that computes it. `score` and `mask` take (score, b, h, i, j) and (b, h, i, j) as FlexAttention does, i a query and
j a key; the reference calls them on whole index tensors. `extra` are the tensors and scalars of the spec besides Q, K and V.
"""

import dataclasses
import math

import torch


@dataclasses.dataclass
class Case:
    name: str
    cascade: str
    batch: int
    heads: int
    kv_heads: int
    length: int
    width: int
    keys: int = 0  # 0: as many as queries
    causal: bool = False  # plain causal: peers with a causal flag take part
    plain: bool = False  # no score function, and no mask but `causal`
    score: object = None
    mask: object = None
    per_batch: bool = False  # the mask depends on b
    extra: dict = dataclasses.field(default_factory=dict)
    scalars: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.keys = self.keys or self.length

    def key(self):
        return f"{self.name} D{self.width} S{self.length}"

    def operands(self, transposed=False):
        """Random Q, K, V; `transposed`: heads inside rows in memory."""
        generator = torch.Generator(device="cuda").manual_seed(self.length * 1024 + self.width)

        def random(heads, length):
            shape = (self.batch, length, heads, self.width) if transposed else (self.batch, heads, length, self.width)
            tensor = torch.randn(shape, device="cuda", generator=generator).bfloat16()
            return tensor.transpose(1, 2) if transposed else tensor

        return random(self.heads, self.length), random(self.kv_heads, self.keys), random(self.kv_heads, self.keys)

    def live(self):
        """Pairs of a query and a key that are not masked, over the batch and one head."""
        if self.mask is None:
            return self.batch * self.length * self.keys
        count, j = 0, torch.arange(self.keys, device="cuda")[None, :]
        for b in range(self.batch if self.per_batch else 1):
            for start in range(0, self.length, 1024):
                i = torch.arange(start, min(start + 1024, self.length), device="cuda")[:, None]
                count += self.mask(torch.tensor(b, device="cuda"), 0, i, j).expand(i.shape[0], self.keys).sum().item()
        return count if self.per_batch else count * self.batch

    def flops(self):
        return 4 * self.heads * self.width * self.live()

    def reference(self, q, k, v, b, h, rows):
        """float64 attention of query rows of one head; a row without keys is 0."""
        g = h * self.kv_heads // self.heads
        s = q[b, h, rows].double() @ k[b, g].double().T / math.sqrt(self.width)
        i, j = rows[:, None], torch.arange(self.keys, device="cuda")[None, :]
        at = torch.tensor(b, device="cuda"), torch.tensor(h, device="cuda")
        if self.score is not None:
            s = self.score(s, *at, i, j)
        if self.mask is not None:
            s = s.masked_fill(~self.mask(*at, i, j), float("-inf"))
        return torch.nan_to_num(torch.softmax(s.double(), -1)) @ v[b, g].double()


def causal_mask(b, h, i, j):
    return j <= i


def dense(batch, heads, length, width, kv_heads=None, keys=0):
    return Case("dense", "full", batch, heads, kv_heads or heads, length, width, keys, plain=True)


def causal(batch, heads, length, width, kv_heads=None, keys=0, name="causal"):
    """The last query is aligned with the last key."""
    offset = (keys or length) - length

    def mask(b, h, i, j):
        return j <= i + offset

    return Case(name, "causal", batch, heads, kv_heads or heads, length, width, keys, causal=True, plain=True, mask=mask)


def alibi(batch, heads, length, width):
    def score(s, b, h, i, j):
        return s + torch.exp2(-8.0 * (h + 1) / heads) * (j - i)

    return Case("alibi", "alibi", batch, heads, heads, length, width, score=score, mask=causal_mask)


def softcap(batch, heads, length, width):
    def score(s, b, h, i, j):
        return 20.0 * torch.tanh(s / 20.0)

    return Case("softcap", "softcap_attention", batch, heads, heads, length, width, score=score, mask=causal_mask)


def relative_bias(batch, heads, length, width, reach=32):
    # Rows padded to 16 bytes, as the kernel's contract asks for.
    table = torch.randn(heads, 2 * reach + 4, device="cuda")[:, : 2 * reach + 1]

    def score(s, b, h, i, j):
        return s + table[h, torch.clamp(j - i, -reach, reach) + reach]

    return Case("relative-bias", "relative_bias", batch, heads, heads, length, width, score=score,
                extra={"bias": table})


def distance_bias(batch, heads, length, width):
    table = torch.randn(heads, 2 * length, device="cuda").bfloat16()

    def score(s, b, h, i, j):
        return s + table[h, j - i + length]

    return Case("distance-bias", "distance_bias", batch, heads, heads, length, width, score=score,
                extra={"bias": table})


def sliding(batch, heads, length, width, window=1024):
    def mask(b, h, i, j):
        return (j <= i) & (i - j < window)

    return Case("sliding-window", "sliding_window", batch, heads, heads, length, width, mask=mask,
                scalars={"W": window})


def window_sinks(batch, heads, length, width, window=1024, sinks=4):
    def mask(b, h, i, j):
        return (j <= i) & ((i - j < window) | (j < sinks))

    return Case("window-sinks", "window_sinks", batch, heads, heads, length, width, mask=mask,
                scalars={"W": window, "N": sinks})


def document(batch, heads, length, width, documents=12):
    generator = torch.Generator().manual_seed(length)
    ids = torch.zeros(batch, length, dtype=torch.int32)
    for b in range(batch):
        cuts = torch.randperm(length - 1, generator=generator)[: documents - 1] + 1
        ids[b, cuts] = 1
    ids = ids.cumsum(1).to(torch.int32).cuda()

    def mask(b, h, i, j):
        return (j <= i) & (ids[b, i] == ids[b, j])

    return Case("document", "document", batch, heads, heads, length, width, mask=mask, per_batch=True,
                extra={"doc": ids})


def prefix_lm(batch, heads, length, width, prefix=2048):
    prefix = min(prefix, length // 2)
    lengths = torch.full((batch,), prefix, dtype=torch.int32, device="cuda")

    def mask(b, h, i, j):
        return (j <= i) | (j < prefix)

    return Case("prefix-lm", "prefix_lm", batch, heads, heads, length, width, mask=mask, extra={"prefix": lengths})


def dilated(batch, heads, length, width):
    def mask(b, h, i, j):
        return (j <= i) & ((i - j < 512) | ((i - j) % 4 == 0))

    return Case("dilated", "dilated", batch, heads, heads, length, width, mask=mask)


def grouped(batch, heads, length, width):
    return causal(batch, heads, length, width, kv_heads=max(heads // 4, 1), name="grouped")


VARIANTS = {
    "alibi": alibi, "softcap": softcap, "relative-bias": relative_bias, "distance-bias": distance_bias,
    "sliding-window": sliding, "window-sinks": window_sinks, "document": document, "prefix-lm": prefix_lm,
    "dilated": dilated, "grouped": grouped,
}
ALL = {"dense": dense, "causal": causal, **VARIANTS}
# Batch times sequence, heads times width: the same work for every width.
TOKENS, MODEL = 16384, 2048


def build(name, width, length, batch=None, heads=None):
    """A case at the standard size of its kind unless batch and heads say otherwise."""
    if name in ("dense", "causal"):
        return ALL[name](batch or TOKENS // length, heads or MODEL // width, length, width)
    return ALL[name](batch or 2, heads or 16, length, width)
