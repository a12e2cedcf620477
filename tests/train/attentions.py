"""Small models that make and use queries and keys in the ways that real ones do."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steadytrain.lab.model import rotary_tables

WIDTH = 16
VOCAB = 11


class Conv1D(nn.Module):
    """A matrix the other way round, as GPT-2 has it: [inputs, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Separate(nn.Module):
    """Llama's: q_proj and k_proj, rotation, key heads shared by query heads."""

    def __init__(self, heads=4, groups=2, names=("q_proj", "k_proj"), norm=None, repeat=False):
        super().__init__()
        self.heads, self.groups, self.names, self.repeat = heads, groups, names, repeat
        width = WIDTH // heads
        setattr(self, names[0], nn.Linear(WIDTH, heads * width))
        setattr(self, names[1], nn.Linear(WIDTH, groups * width))
        self.v = nn.Linear(WIDTH, groups * width)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.norm = norm
        if norm == "module":
            self.q_norm, self.k_norm = nn.RMSNorm(width), nn.RMSNorm(width)

    def heads_of(self, x):
        q = getattr(self, self.names[0])(x).unflatten(-1, (self.heads, -1))
        k = getattr(self, self.names[1])(x).unflatten(-1, (self.groups, -1))
        if self.norm == "module":
            q, k = self.q_norm(q), self.k_norm(k)
        if self.norm == "function":
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        return turned(q), turned(k), self.v(x).unflatten(-1, (self.groups, -1)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.heads_of(x)
        if self.repeat:
            k, v = (one.repeat_interleave(self.heads // self.groups, dim=1) for one in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=not self.repeat)
        return self.out(y.transpose(1, 2).flatten(2))


class Fused(nn.Module):
    """One matrix for all, in one of the layouts that models have."""

    def __init__(self, kind: str, heads=4, groups=4):
        super().__init__()
        self.kind, self.heads, self.groups = kind, heads, groups
        rows = (heads + 2 * groups) * (WIDTH // heads)
        self.name = {"thirds": "qkv", "gpt2": "c_attn", "by group": "query_key_value"}.get(kind)
        self.name = self.name or "linear_qkv"
        made = Conv1D(WIDTH, rows) if kind == "gpt2" else nn.Linear(WIDTH, rows)
        setattr(self, self.name, made)
        self.out = nn.Linear(WIDTH, WIDTH)

    def heads_of(self, x):
        made = getattr(self, self.name)
        width, share = WIDTH // self.heads, self.heads // self.groups
        if self.kind in ("thirds", "gpt2"):
            heads = made(x).unflatten(-1, (-1, width))
            q, k, v = heads.split([self.heads, self.groups, self.groups], dim=2)
        else:
            flat = made(x.transpose(0, 1)).transpose(0, 1) if self.kind == "megatron" else made(x)
            mixed = flat.unflatten(-1, (self.groups, share + 2, width))
            q = mixed[:, :, :, :share].flatten(2, 3)
            k, v = mixed[:, :, :, share], mixed[:, :, :, share + 1]
        return turned(q), turned(k), v.transpose(1, 2)

    def forward(self, x):
        q, k, v = self.heads_of(x)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Multihead(nn.Module):
    """torch's own."""

    def __init__(self, heads=4, **settings):
        super().__init__()
        self.heads = heads
        self.attend = nn.MultiheadAttention(WIDTH, heads, batch_first=True, **settings)
        nn.init.normal_(self.attend.in_proj_bias)

    def heads_of(self, x):
        made = F.linear(x, self.attend.in_proj_weight, self.attend.in_proj_bias)
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in made.chunk(3, -1))
        return q, k, v

    def forward(self, x):
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.attend(x, x, x, attn_mask=mask)[0]


class ByHand(Separate):
    """No call of torch's attention: logits and a softmax; tells the probe of them."""

    probe = None

    def forward(self, x):
        q, k, v = self.heads_of(x)
        k, v = (one.repeat_interleave(self.heads // self.groups, dim=1) for one in (k, v))
        logits = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        logits = logits.masked_fill(hidden, -torch.inf)
        if self.probe is not None:
            self.probe.note(logits)
        return self.out((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Model(nn.Module):
    """Embedding, blocks, head. `around` is put around each block when it is called."""

    def __init__(self, *attends: nn.Module, around=None):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.blocks = nn.ModuleList(Block(one) for one in attends)
        self.head = nn.Linear(WIDTH, VOCAB)
        self.around = around

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = self.around(block, x) if self.around else block(x)
        return self.head(x)


class Block(nn.Module):
    def __init__(self, attend: nn.Module):
        super().__init__()
        self.norm = nn.RMSNorm(WIDTH)
        self.attend = attend

    def forward(self, x):
        return x + self.attend(self.norm(x))


def turned(x_BTHD):
    """Rotated by position, heads first."""
    cos, sin = (one[:, None] for one in rotary_tables(x_BTHD.shape[1], x_BTHD.shape[-1]))
    a, b = x_BTHD.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).transpose(1, 2)


@torch.no_grad()
def all_logits(model: Model, tokens) -> list[Tensor]:
    """The slow obvious way: the largest logit of every head of every block, all queries, all keys."""
    found, x = [], model.embed(tokens)
    for block in model.blocks:
        q, k, _ = block.attend.heads_of(block.norm(x))
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
        logits = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        found.append(logits.masked_fill(hidden, -torch.inf).amax((0, 2, 3)))
        x = model.around(block, x) if model.around else block(x)
    return found
