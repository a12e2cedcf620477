"""Where a model makes its queries and keys: which rows of which weight belong to which head.

Names say where to look; what a forward pass shows says which rows are whose. A rotation leaves the
length of a query as it is, so the lengths seen at the attention must be those of the rows, up to
one factor: a layout that does not give them is not the model's, or something between (a norm of
queries and keys) would undo whatever is done to the rows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

# B sequences, T positions, H query heads, G key heads, D width of a head, R rows of a weight.

SEPARATE = (
    ("q_proj", "k_proj"),  # Llama, Mistral, Qwen, GPT-NeoX's heirs, OPT
    ("wq", "wk"),  # torchtitan, Llama's own code
    ("query", "key"),  # BERT, RoBERTa
    ("q_lin", "k_lin"),  # DistilBERT
    ("to_q", "to_k"),
    ("w_q", "w_k"),
    ("linear_q", "linear_k"),
)
FUSED = ("qkv", "qkv_proj", "Wqkv", "wqkv", "c_attn", "query_key_value", "linear_qkv", "att_proj")
"""In one weight, as thirds [q; k; v] (GPT-2, Phi-3, MPT) or group by group [q ... q, k, v]
(GPT-NeoX, BLOOM, Falcon, Megatron); which of the two, a forward pass shows."""

_NORM = re.compile(r"^(q|k|qk|query|key)_?(layer_?|rms_?)?(norm|ln)$|^(norm|ln)_(q|k|qk)$")

SAME_LENGTH = 0.02
"""Rounding to bfloat16 moves a length by 0.4 % at most; any other row of another head by far more
for some token. Source: 2^-8 is the rounding of bfloat16; the margin is a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A weight that makes queries or keys, and its bias; looked up when used, since FSDP2 binds
    another tensor to the name around a forward pass."""

    owner: nn.Module
    weight: str = "weight"
    bias: str | None = "bias"

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None]:
        bias = getattr(self.owner, self.bias, None) if self.bias else None
        return getattr(self.owner, self.weight), bias

    def has_rows_last(self, rows: int) -> bool:
        """Whether outputs are the weight's columns, as in GPT-2's Conv1D."""
        shape = self.tensors[0].shape
        if shape[0] != shape[1]:
            return bool(shape[1] == rows)
        return type(self.owner).__name__ == "Conv1D"


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """An attention module.

    Attributes:
        query, key: what makes them; one and the same if it is fused.
        form: how the weight is known to be laid out: "multihead" as torch documents it.
        has_norm: by name, queries or keys are normalised in between.
    """

    name: str
    module: nn.Module
    query: Part
    key: Part
    form: Literal["separate", "fused", "multihead"]
    has_norm: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Rows of each head, in blocks of `width` rows.

    Attributes:
        query_H, key_G: number of the block that belongs to each query head and each key head; query
            head h reads key head h // (H / G).
        query_blocks, key_blocks: blocks in the two weights (the same if they are one).
    """

    width: int
    query_H: tuple[int, ...]
    key_G: tuple[int, ...]
    query_blocks: int
    key_blocks: int


def find_sites(model: nn.Module) -> tuple[Site, ...]:
    """Every attention module whose queries and keys are made where a name says so."""
    found = []
    for name, module in model.named_modules():
        parts = _parts(module)
        if parts is None:
            continue
        children = dict(module.named_children())
        norms = [one for key, one in children.items() if _NORM.search(key)]
        found.append(
            Site(
                name=name,
                module=module,
                query=parts[0],
                key=parts[1],
                form=parts[2],
                has_norm=any("dentity" not in type(one).__name__ for one in norms),
            )
        )
    return tuple(found)


def read_layout(
    site: Site, q_BHTD: Tensor, k_BGTD: Tensor, made: tuple[Tensor, Tensor]
) -> Layout | str:
    """The layout that a forward pass shows, or in words why there is none. Waits for the device.

    Args:
        q_BHTD, k_BGTD: what the attention was called with.
        made: what the query's and the key's projection gave out, of shape [..., R].
    """
    heads, width = q_BHTD.shape[1], q_BHTD.shape[3]
    for part, rows in ((site.query, made[0].shape[-1]), (site.key, made[1].shape[-1])):
        if rows not in part.tensors[0].shape:
            return (
                f"{site.name} holds {tuple(part.tensors[0].shape)} weights and makes {rows} numbers"
                " of them: this rank sees some of the heads only (tensor parallelism)"
            )
        if rows % width:
            return f"{site.name} makes {rows} numbers, which are no whole heads of {width}"
    blocks = made[0].shape[-1] // width, made[1].shape[-1] // width
    for layout in _layouts(site.form, heads, width, blocks):
        repeats = k_BGTD.shape[1] // len(layout.key_G)
        key_blocks = [one for one in layout.key_G for _ in range(repeats)]
        if _is_made_of(q_BHTD, made[0], layout.query_H) and _is_made_of(
            k_BGTD, made[1], key_blocks
        ):
            return layout
    return (
        f"the queries and keys of {site.name} are not turned rows of its projections: something "
        "between them (a norm of queries and keys?) would undo a scaling of the rows, or the rows "
        "are laid out in a way that is not known"
    )


def multihead_layout(heads: int, embed: int) -> Layout:
    """Of torch's own nn.MultiheadAttention, whose in_proj_weight is documented as [q; k; v]."""
    width = embed // heads
    query_H, key_G = tuple(range(heads)), tuple(range(heads, 2 * heads))
    return Layout(
        width=width, query_H=query_H, key_G=key_G, query_blocks=3 * heads, key_blocks=3 * heads
    )


def _layouts(form: str, heads: int, width: int, blocks: tuple[int, int]) -> Sequence[Layout]:
    if form == "separate":
        if blocks[0] != heads or heads % blocks[1]:
            return ()
        return (
            Layout(
                width=width,
                query_H=tuple(range(heads)),
                key_G=tuple(range(blocks[1])),
                query_blocks=heads,
                key_blocks=blocks[1],
            ),
        )
    groups, odd = divmod(blocks[0] - heads, 2)
    if odd or groups < 1 or heads % groups:
        return ()
    share = heads // groups
    thirds = tuple(range(heads)), tuple(range(heads, heads + groups))
    by_group = (
        tuple(g * (share + 2) + i for g in range(groups) for i in range(share)),
        tuple(g * (share + 2) + share for g in range(groups)),
    )
    return [
        Layout(width=width, query_H=query, key_G=key, query_blocks=blocks[0], key_blocks=blocks[0])
        for query, key in (thirds, by_group)
    ]


def _is_made_of(x_BHTD: Tensor, made: Tensor, blocks_H: Sequence[int]) -> bool:
    """Whether the vectors of every head in the first sequence have the lengths of those rows, up to
    one factor for all."""
    sequences, _, length, width = x_BHTD.shape
    if made.numel() != sequences * length * made.shape[-1]:
        return False
    seen_TH = torch.linalg.vector_norm(x_BHTD[0].float(), dim=-1).T
    parts = made.reshape(sequences * length, -1, width)
    index = torch.tensor(blocks_H, device=made.device)
    # Sequences first, or positions first as in Megatron.
    for first in (parts[:length], parts[::sequences]):
        rows_TH = torch.linalg.vector_norm(first.float(), dim=-1)[:, index]
        expected_TH = rows_TH * (seen_TH.sum() / rows_TH.sum())
        room_TH = SAME_LENGTH * expected_TH + 1e-4 * expected_TH.max()  # padding may be all zeros
        if bool(((seen_TH - expected_TH).abs() <= room_TH).all()):
            return True
    return False


def _parts(
    module: nn.Module,
) -> tuple[Part, Part, Literal["separate", "fused", "multihead"]] | None:
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is not None:
            whole = Part(owner=module, weight="in_proj_weight", bias="in_proj_bias")
            return whole, whole, "multihead"
        return None
    children = dict(module.named_children())
    for query, key in SEPARATE:
        if _is_matrix(children.get(query)) and _is_matrix(children.get(key)):
            return Part(owner=children[query]), Part(owner=children[key]), "separate"
    for name in FUSED:
        if _is_matrix(children.get(name)):
            whole = Part(owner=children[name])
            return whole, whole, "fused"
    return None


def _is_matrix(module: nn.Module | None) -> bool:
    # A weight that is put together from others (LoRA, weight norm) is no parameter of its own.
    weight = None if module is None else module._parameters.get("weight")
    return weight is not None and weight.dim() == 2 and weight.is_floating_point()
