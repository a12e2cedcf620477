"""A run's tensors under stable names: what a snapshot copies and a checkpoint keeps.

    model.<name>              parameters and persistent buffers; tied parameters once
    optimizer.<name>.<key>    tensors of the optimizer's state (exp_avg, exp_avg_sq, step ...)
    guard.<name>              what the guard itself has learned (running thresholds)

`<name>` is the parameter's name in the bare model, whatever DDP, torch.compile or activation
checkpointing wrap around it, so a state saved by one is restored by another. What is not a tensor
(learning rates, betas) is in `leaves`. Gradients are no state: they end with the step.
"""

import array
import hashlib
import math
import random
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from steadytrain.errors import CheckpointError, SettingError

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Name -> shape over all ranks, dtype."""

WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module")
"""Where torch.compile and torch's activation checkpointing keep the module that they wrap."""

PROGRAM_KEYS = ("params", "param_names", "foreach", "fused", "capturable", "differentiable")
"""Keys of a group that say what the program is, not where the run stands; never restored."""

GUARD = "guard."

PYTHON_WORDS = 625  # Mersenne Twister: 624 words and the position, as random.getstate() has them


class TrainingState:
    """The live tensors of a model and its optimizer, and what else an exact return needs.

    Args:
        model: bare, in DDP, compiled, or sharded by `fully_shard` beforehand.
        optimizer: trains parameters of that model only.
        extras: small tensors of the guard, written in place and the same on every rank. As they
            are now they stand for "nothing seen yet".

    Raises:
        SettingError: FSDP1, whose shards carry no global shape; a trained tensor outside the model.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        extras: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._extras = {f"{GUARD}{name}": tensor for name, tensor in (extras or {}).items()}
        self._unseen = {name: tensor.clone() for name, tensor in self._extras.items()}
        self._sharded = [one for one in model.modules() if isinstance(one, FSDPModule)]
        if any(isinstance(one, FullyShardedDataParallel) for one in model.modules()):
            raise SettingError(
                "FullyShardedDataParallel (FSDP1) cuts parameters into flat shards without a "
                "shape of their own, so ranks would overwrite each other's in a checkpoint. Write "
                "torch.distributed.fsdp.fully_shard(model) (FSDP2)."
            )
        self._reshard()
        self._parameters: dict[str, nn.Parameter] = {}
        self._names: dict[Tensor, str] = {}
        self._buffers: list[tuple[str, nn.Module, str]] = []
        self._collect(model)
        for _ in self._trained():
            pass  # refuses a parameter without a name now rather than at the first snapshot

    @property
    def num_parameters(self) -> int:
        """Parameters over all ranks, tied ones once, frozen ones included."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    @property
    def is_sharded(self) -> bool:
        """Whether each rank holds a part of the tensors only (FSDP2)."""
        return bool(self._sharded)

    @property
    def optimizer_is_empty(self) -> bool:
        """Whether the optimizer has not made its first step yet."""
        return not self._optimizer.state

    def fingerprint(self) -> str:
        """Digest of the parameters' names, shapes and dtypes; the same on every rank."""
        lines = "".join(f"{line}\n" for line in sorted(self.parameters()))
        return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()

    def parameters(self) -> frozenset[str]:
        """Name, whole shape and dtype of each parameter, as one word."""
        return frozenset(
            f"{name} {list(parameter.shape)} {parameter.dtype}"
            for name, parameter in self._parameters.items()
        )

    def tensors(self) -> dict[str, Tensor]:
        """The live tensors, not copies. Write into them under `torch.no_grad()`.

        Call it again after a forward pass: FSDP2 leaves the root's parameters gathered after a
        forward without a backward, and would go on to use those; this call shards them again.
        """
        self._reshard()
        live: dict[str, Tensor] = {f"model.{k}": v for k, v in self._parameters.items()}
        live |= self.buffers()
        for name, parameter, _ in self._trained():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    live[f"optimizer.{name}.{key}"] = value
        return live | self._extras

    def buffers(self) -> dict[str, Tensor]:
        """The live persistent buffers: what a forward pass in training may change."""
        self._reshard()
        # Looked up each time: a module may bind its buffer anew (`self.mean = ...`).
        found = {f"model.{name}": module._buffers[key] for name, module, key in self._buffers}
        return {name: buffer for name, buffer in found.items() if buffer is not None}

    def leaves(self) -> dict[str, Any]:
        """What is no tensor, ready for JSON: hyperparameters of each group, plain optimizer state.

        A tensor learning rate becomes a float; one that lies on a GPU costs a host sync.

        Raises:
            SettingError: a value that JSON cannot hold.
        """
        groups = [
            {
                key: _plain(value, f"param_groups[{index}]")
                for key, value in group.items()
                if key not in PROGRAM_KEYS
            }
            for index, group in enumerate(self._optimizer.param_groups)
        ]
        state: dict[str, dict[str, Any]] = {}
        for name, parameter, _ in self._trained():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    state.setdefault(name, {})[key] = _plain(value, f"state of {name}")
        return {"groups": groups, "state": state}

    @torch.no_grad()
    def load_leaves(self, leaves: Mapping[str, Any]) -> None:
        """Put back what `leaves` gave. Tensor hyperparameters are filled, not replaced.

        Raises:
            CheckpointError: another number of parameter groups.
        """
        groups, state = self._optimizer.param_groups, leaves["state"]
        if len(leaves["groups"]) != len(groups):
            raise CheckpointError(
                f"the saved optimizer has {len(leaves['groups'])} parameter groups, this one has "
                f"{len(groups)}: learning rates would reach the wrong parameters. Build the "
                "optimizer with the groups that the run began with."
            )
        for group, saved in zip(groups, leaves["groups"], strict=True):
            group.update({key: _like(group.get(key), value) for key, value in saved.items()})
        for name, parameter, _ in self._trained():
            live = self._optimizer.state.get(parameter, {})
            for key in [key for key, value in live.items() if not isinstance(value, Tensor)]:
                del live[key]
            for key, value in state.get(name, {}).items():
                self._optimizer.state[parameter][key] = _like(None, value)

    @torch.no_grad()
    def make_optimizer_state(self, layout: Layout) -> None:
        """Let the optimizer hold exactly these tensors: zeros for the missing, surplus dropped.

        Tensors that fit stay, with their values. A state shaped like its parameter follows its
        placement (device, DTensor shards). torch's own way to make state is a step with zero
        gradients, which leaves step = 1 and, with weight decay, other weights.

        Args:
            layout: `optimizer.<name>.<key>` -> shape, dtype.

        Raises:
            CheckpointError: a name that belongs to no parameter that this optimizer trains.
        """
        wanted: dict[str, dict[str, tuple[tuple[int, ...], torch.dtype]]] = {}
        for full, shape_and_type in layout.items():
            name, _, key = full.removeprefix("optimizer.").rpartition(".")
            wanted.setdefault(name, {})[key] = shape_and_type
        for name, parameter, group in self._trained():
            mine = wanted.pop(name, {})
            live = self._optimizer.state.get(parameter, {})
            for key in [k for k, v in live.items() if isinstance(v, Tensor) and k not in mine]:
                del live[key]
            for key, (shape, dtype) in mine.items():
                old = live.get(key)
                if isinstance(old, Tensor) and old.shape == shape and old.dtype == dtype:
                    continue
                made = _zeros(parameter, group, key, shape=shape, dtype=dtype)
                self._optimizer.state[parameter][key] = made
            if not mine and not live:
                self._optimizer.state.pop(parameter, None)
        if wanted:
            raise CheckpointError(
                f"the saved optimizer trained {min(wanted)}, this one does not: its moments would "
                "be lost. Give the optimizer the parameters that the run began with."
            )

    @torch.no_grad()
    def begin_extras_anew(self, names: Iterable[str]) -> None:
        """Let these tensors of the guard be as they were before anything was seen."""
        for name in names:
            self._extras[name].copy_(self._unseen[name])

    def clear_optimizer_state(self) -> None:
        """The state before the first step."""
        self._optimizer.state.clear()

    def rng(self) -> dict[str, Tensor]:
        """This rank's random states as bytes: torch, numpy, python, and CUDA if it is in use."""
        states = {
            "torch": torch.get_rng_state(),
            "numpy": _bytes(_numpy_state()),
            "python": _bytes(_python_state()),
        }
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def load_rng(self, states: Mapping[str, Tensor]) -> None:
        """Put back what `rng` gave; a CUDA state is left out where CUDA is not in use."""
        torch.set_rng_state(states["torch"])
        _set_numpy_state(states["numpy"].numpy().tobytes())
        _set_python_state(states["python"].numpy().tobytes())
        if "cuda" in states and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.set_rng_state(states["cuda"])

    def _collect(self, model: nn.Module) -> None:
        seen_buffers: set[int] = set()
        for prefix, module in _unwrapped(model):
            for key, parameter in module._parameters.items():
                if parameter is not None and parameter not in self._names:
                    self._names[parameter] = prefix + key
                    self._parameters[prefix + key] = parameter
            for key, buffer in module._buffers.items():
                if key in module._non_persistent_buffers_set or id(buffer) in seen_buffers:
                    continue
                if buffer is not None:
                    seen_buffers.add(id(buffer))
                self._buffers.append((prefix + key, module, key))

    def _trained(self) -> Iterator[tuple[str, nn.Parameter, dict[str, Any]]]:
        """Name, parameter and group of everything that the optimizer trains."""
        for index, group in enumerate(self._optimizer.param_groups):
            for parameter in group["params"]:
                if parameter not in self._names:
                    raise SettingError(
                        f"param_groups[{index}] of the optimizer trains a tensor of shape "
                        f"{list(parameter.shape)} that is no parameter of the model; without a "
                        "name it would be missing from every checkpoint. Register it in the "
                        "model, and wrap or shard the model before making the optimizer."
                    )
                yield self._names[parameter], parameter, group

    def _reshard(self) -> None:
        for module in self._sharded:
            module.reshard()


def layout(tensors: Mapping[str, Tensor]) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shapes over all ranks and dtypes of named tensors."""
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def is_of_optimizer(name: str) -> bool:
    """Whether a tensor of `TrainingState.tensors` belongs to the optimizer."""
    return name.startswith("optimizer.")


def is_of_guard(name: str) -> bool:
    """Whether a tensor of `TrainingState.tensors` is what the guard itself has learned."""
    return name.startswith(GUARD)


def digest_rng(states: Mapping[str, Tensor]) -> str:
    """CRC-32 of a rank's random states, as eight hexadecimal digits."""
    found = 0
    for name, one in sorted(states.items()):
        found = zlib.crc32(one.numpy().tobytes(), zlib.crc32(name.encode(), found))
    return f"{found:08x}"


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this rank holds. Call under `torch.no_grad()`."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _unwrapped(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module with the prefix that its tensors have in the bare model, wrappers left out."""
    inner = [module._modules[key] for key in WRAPPED if key in module._modules]
    if isinstance(module, DistributedDataParallel | nn.DataParallel):
        inner = [module.module]
    if inner:
        for one in inner:
            assert one is not None
            yield from _unwrapped(one, prefix)
        return
    yield prefix, module
    for key, child in module._modules.items():
        if child is not None:
            yield from _unwrapped(child, f"{prefix}{key}.")


def _zeros(
    parameter: nn.Parameter,
    group: Mapping[str, Any],
    key: str,
    *,
    shape: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:
    # As torch.optim does it: a step counter lies on the host unless the kernel reads it itself.
    is_host_scalar = "capturable" in group and not (group["capturable"] or group.get("fused"))
    if key != "step" and parameter.shape == shape:
        return torch.zeros_like(parameter.detach(), dtype=dtype)
    device = "cpu" if not shape and is_host_scalar else parameter.device
    return torch.zeros(shape, dtype=dtype, device=device)


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = float(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}  # as events.py spells what JSON has no word for
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one, where) for one in value]
    raise SettingError(
        f"the {where} of the optimizer holds a {type(value).__name__}, which is neither a tensor "
        "nor plain data; a checkpoint would lose it. Keep tensors directly in the state of their "
        "parameter, and only numbers, strings and tuples beside them."
    )


def _like(live: Any, saved: Any) -> Any:
    """A saved value in the form of the live one: JSON knows neither tensors nor tuples."""
    if isinstance(saved, dict):
        saved = float(saved["float"])
    if isinstance(live, Tensor):
        return live.fill_(saved)
    if isinstance(live, tuple) and isinstance(saved, list | tuple):
        parts = live if len(live) == len(saved) else [None] * len(saved)
        return tuple(_like(one, value) for one, value in zip(parts, saved, strict=True))
    return saved


def _bytes(raw: bytes) -> Tensor:
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def _numpy_state() -> bytes:
    # The legacy global state is what data code that calls np.random.* draws from.
    _, words, *rest = np.random.get_state()  # noqa: NPY002
    return struct.pack("<qqd", *rest) + np.asarray(words, dtype="<u4").tobytes()


def _set_numpy_state(raw: bytes) -> None:
    size = struct.calcsize("<qqd")
    words = np.frombuffer(raw[size:], dtype="<u4")
    state = ("MT19937", words, *struct.unpack("<qqd", raw[:size]))
    np.random.set_state(state)  # noqa: NPY002


def _python_state() -> bytes:
    _, words, gauss = random.getstate()
    return struct.pack("<?d", gauss is not None, gauss or 0.0) + array.array("I", words).tobytes()


def _set_python_state(raw: bytes) -> None:
    size = struct.calcsize("<?d")
    has_gauss, gauss = struct.unpack("<?d", raw[:size])
    words = array.array("I", raw[size:])
    assert len(words) == PYTHON_WORDS
    random.setstate((3, tuple(words), gauss if has_gauss else None))  # 3: Python's own version
