"""A small decoder-only transformer that reads bytes.

Why bytes: there is no tokenizer to train or to ship; any corruption of a text can be represented;
a loss in nats per byte is bits per byte without a correction for the tokenizer; and Chinese,
English and code are measured in the same unit. The price is three tokens per Chinese character.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from steadytrain.errors import SettingError

# B sequences, T positions, W width, H heads, D width of a head, R = D / 2 pairs, V vocabulary.

BEGIN = 256
"""Token id that begins a sequence; also the padding. The ids below it are the bytes themselves."""

ROTARY_BASE = 10_000.0  # Su et al. 2021, section 3.2.2
HIDDEN_MULTIPLE = 32  # keeps rows of the hidden layer on whole cache lines, and 96 -> 256 exact


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The sizes of a model.

    Attributes:
        width: size of the residual stream.
        layers: number of blocks.
        heads: attention heads; the width of a head, width / heads, must be even for the rotation.
        context: the most positions that one sequence may have. [tokens]
        vocab: 256 bytes and `BEGIN`.
        qk_norm: normalise queries and keys of each head before they are rotated, so that no logit
            of the attention can grow beyond sqrt(head width) times two learned scales.
        embed_shrink: share of the embedding's gradient that is let through.
        softcap: logits of the head are softcap * tanh(logit / softcap); None leaves them.

    Raises:
        SettingError: the sizes do not fit together.

    Source: guess; 0.38 million parameters learn to spell three domains in minutes on two cores.
    QK-norm: Dehghani et al. 2023 (ViT-22B, section 2.1), here RMSNorm as in OLMo 2; soft cap: Gemma
    2 (30 for the head); embedding gradient shrink: GLM-130B (0.1), section 3.1.

    >>> Config().hidden
    256
    """

    width: int = 96
    layers: int = 3
    heads: int = 3
    context: int = 128
    vocab: int = 257
    qk_norm: bool = False
    embed_shrink: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "context", "vocab"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"{name}={getattr(self, name)} is not a size; a model without it has no "
                    f"parameters to train. Write Config({name}=1) or more."
                )
        if self.width % (2 * self.heads):
            raise SettingError(
                f"width={self.width} cannot be shared by {self.heads} heads; each head needs an "
                f"even width, because rotary positions turn pairs. Write a width that is a "
                f"multiple of {2 * self.heads}."
            )

        if not 0 < self.embed_shrink <= 1:
            raise SettingError(
                f"embed_shrink={self.embed_shrink} would stop, turn or enlarge the embedding's "
                "gradient. Write embed_shrink=0.1 (GLM-130B), or 1.0 to leave it."
            )
        if self.softcap is not None and not 0 < self.softcap < math.inf:
            raise SettingError(
                f"softcap={self.softcap} leaves the head no logits to tell bytes apart. Write "
                "softcap=30.0 (Gemma 2), or None for no cap."
            )

    @property
    def hidden(self) -> int:
        """Width inside the feed-forward layer: 8/3 of the model's, rounded up.

        Source: Shazeer 2020, section 2: 2/3 of the usual factor 4, for three matrices, not two.
        """
        return math.ceil(8 * self.width / 3 / HIDDEN_MULTIPLE) * HIDDEN_MULTIPLE


class Transformer(nn.Module):
    """Bytes in, logits of the next byte out.

    Rotary positions, RMSNorm before each layer, SwiGLU, an untied head, no biases. A parameter's
    name tells its depth: `embed`, `blocks.0` ... `blocks.N`, `norm`, `head`.

    Args:
        config: the sizes.
        seed: decides every initial weight; the global random state is neither read nor changed.

    Source: the choices of Llama (Touvron et al. 2023). Initial weights are normal: embeddings of
    size 1, against spikes (Takase et al. 2023, "Spike No More", section 3.2); projections keep the
    size of what they read; those into the stream are divided by sqrt(2 * layers) (GPT-2, 2.3).
    Embeddings of size 1 against 0.1: loss 2.17, not 2.21, after 200 steps of three domains, and the
    largest gradient norm after warmup 0.65, not 1.32.

    >>> model = Transformer(Config(), seed=0)
    >>> model(torch.zeros(2, 7, dtype=torch.int64)).shape
    torch.Size([2, 7, 257])
    """

    def __init__(self, config: Config, *, seed: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab, config.width, device="meta").to_empty(device="cpu")
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = _project(config.width, config.vocab)
        cos_TR, sin_TR = rotary_tables(config.context, config.width // config.heads)
        self.register_buffer("cos_TR", cos_TR, persistent=False)  # a function of config: not saved
        self.register_buffer("sin_TR", sin_TR, persistent=False)
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits [B, T, V] of the byte after each position.

        Raises:
            SettingError: the sequence is longer than the model's context.
        """
        length = tokens_BT.shape[1]
        if length > self.config.context:
            raise SettingError(
                f"a sequence of {length} tokens is longer than context={self.config.context}; "
                f"positions beyond it have no rotation. Cut the sequence, or write "
                f"Config(context={length})."
            )
        cos_T1R = self.get_buffer("cos_TR")[:length, None]
        sin_T1R = self.get_buffer("sin_TR")[:length, None]
        x_BTW = self.embed(tokens_BT)
        if self.config.embed_shrink != 1.0:
            alpha = self.config.embed_shrink
            x_BTW = alpha * x_BTW + (1 - alpha) * x_BTW.detach()
        for block in self.blocks:
            x_BTW = block(x_BTW, cos_T1R, sin_T1R)
        logits_BTV: Tensor = self.head(self.norm(x_BTW))
        cap = self.config.softcap
        return logits_BTV if cap is None else cap * torch.tanh(logits_BTV / cap)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        inner_std = self.config.width**-0.5  # keeps the size of what a projection reads
        outer_std = inner_std / math.sqrt(2 * self.config.layers)  # a sum of 2 * layers outputs
        for name, weight in self.named_parameters():
            if name.endswith("norm.weight"):
                weight.fill_(1.0)
            elif name == "embed.weight":
                weight.normal_(0.0, 1.0, generator=generator)
            elif name.endswith(("attend.out.weight", "swiglu.down.weight")):
                weight.normal_(0.0, outer_std, generator=generator)
            else:
                weight.normal_(0.0, inner_std, generator=generator)


class Block(nn.Module):
    """Attention, then feed-forward, each on a normalised copy of the stream it adds to."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.attend_norm = nn.RMSNorm(config.width)
        self.attend = Attention(config)
        self.swiglu_norm = nn.RMSNorm(config.width)
        self.swiglu = SwiGLU(config)

    def forward(self, x_BTW: Tensor, cos_T1R: Tensor, sin_T1R: Tensor) -> Tensor:
        x_BTW = x_BTW + self.attend(self.attend_norm(x_BTW), cos_T1R, sin_T1R)
        out_BTW: Tensor = x_BTW + self.swiglu(self.swiglu_norm(x_BTW))
        return out_BTW


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = _project(config.width, 3 * config.width)
        self.out = _project(config.width, config.width)
        head_width = config.width // config.heads
        self.q_norm = nn.RMSNorm(head_width) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(head_width) if config.qk_norm else None

    def forward(self, x_BTW: Tensor, cos_T1R: Tensor, sin_T1R: Tensor) -> Tensor:
        qkv_BTHD = self.qkv(x_BTW).unflatten(-1, (3 * self.heads, -1))
        qk_BTHD, v_BTHD = qkv_BTHD.split_with_sizes((2 * self.heads, self.heads), dim=2)
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHD, k_BTHD = qk_BTHD.chunk(2, dim=2)
            qk_BTHD = torch.cat((self.q_norm(q_BTHD), self.k_norm(k_BTHD)), dim=2)
        q_BTHD, k_BTHD = rotate(qk_BTHD, cos_T1R, sin_T1R).chunk(2, dim=2)
        y_BHTD = F.scaled_dot_product_attention(
            q_BTHD.transpose(1, 2), k_BTHD.transpose(1, 2), v_BTHD.transpose(1, 2), is_causal=True
        )
        y_BTW: Tensor = self.out(y_BHTD.transpose(1, 2).flatten(2))
        return y_BTW


class SwiGLU(nn.Module):
    """The feed-forward layer: down(silu(gate(x)) * up(x)).

    Gate and up stay two matrices: as one, the backward pass copies both halves together again,
    which cost 5 % of a step on CPU.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate = _project(config.width, config.hidden)
        self.up = _project(config.width, config.hidden)
        self.down = _project(config.hidden, config.width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        y_BTW: Tensor = self.down(F.silu(self.gate(x_BTW)) * self.up(x_BTW))
        return y_BTW


def rotary_tables(context: int, head_width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, R] of position * base ** (-pair / pairs), in float32.

    Source: Su et al. 2021, RoFormer, equation 15.
    """
    pairs = head_width // 2
    turn_R = ROTARY_BASE ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    angle_TR = torch.arange(context, dtype=torch.float64)[:, None] * turn_R
    return angle_TR.cos().float(), angle_TR.sin().float()


def rotate(x_BTHD: Tensor, cos_T1R: Tensor, sin_T1R: Tensor) -> Tensor:
    """Turn the pair (x[i], x[i + R]) of every head by its position's angle."""
    a_BTHR, b_BTHR = x_BTHD.chunk(2, dim=-1)
    return torch.cat(
        (a_BTHR * cos_T1R - b_BTHR * sin_T1R, b_BTHR * cos_T1R + a_BTHR * sin_T1R), dim=-1
    )


def _project(inputs: int, outputs: int) -> nn.Linear:
    """A matrix without bias whose values are still to be written: no random number is drawn."""
    return nn.Linear(inputs, outputs, bias=False, device="meta").to_empty(device="cpu")
