"""Which calls of torch's two attention functions a forward pass makes, heard at next to no price.

A torch function mode hears every call of torch, by whatever name, and makes each of them slower: a
forward pass of small layers by a quarter. So it listens to the first pass only, and counts. Where
all attention was called by its name in `torch.nn.functional`, as nearly all models do, those two
names are stood in for while a pass is heard, and nothing else is touched. A model that has bound a
function to a name of its own is heard by the mode for good.

Source: standing in for the name, as torch's own context parallelism does; figures, LOG.md
2026-11-28.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Hear = Callable[..., None]

NAMES = ("scaled_dot_product_attention", "multi_head_attention_forward")


class Ear:
    """Hears the attention calls that its thread makes between `begin` and `end`.

    Args:
        attention, multihead: are given what the two functions are called with, before they are.
    """

    def __init__(self, attention: Hear, multihead: Hear) -> None:
        self._hears = dict(zip(NAMES, (attention, multihead), strict=True))
        self._mode = _Mode(self)
        self._uses_names: bool | None = None
        self._num_named = self._num_called = 0
        self._thread = 0
        self.is_inside = False

    @property
    def uses_names(self) -> bool:
        """Whether a first pass has shown that its calls are all made by name."""
        return bool(self._uses_names)

    @property
    def is_mine(self) -> bool:
        """Whether this thread is the one that is listened to, and not in a call already heard."""
        return self._thread == threading.get_ident() and not self.is_inside

    def begin(self) -> None:
        """Listen from now on."""
        self._thread = threading.get_ident()
        _stand_in(self)
        if not self._uses_names:
            self._mode.__enter__()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Stop listening."""
        if not self._uses_names:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        _step_aside(self)
        if self._uses_names is None:
            self._uses_names = self._num_named == self._num_called

    def name_called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear a call by name, or count it where the mode hears it too."""
        self._num_named += 1
        if self._uses_names:
            self._hears[name](*args, **kwargs)

    def called(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Hear a call that the mode has heard."""
        self._num_called += 1
        self._hears[name](*args, **kwargs)


class _Mode(TorchFunctionMode):
    """Hears the two functions by any name, and calls every function as it would have been."""

    def __init__(self, ear: Ear) -> None:
        super().__init__()
        self._ear = ear

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = _name_of(func)
        if name is None or torch.compiler.is_compiling():
            return func(*args, **kwargs)
        self._ear.called(name, args, kwargs)
        self._ear.is_inside, before = True, self._ear.is_inside
        try:
            return func(*args, **kwargs)
        finally:
            self._ear.is_inside = before


_ears: list[Ear] = []
"""Those that listen now; while there is one, the names are stood in for."""

_BUILT_IN = {name: getattr(F, name) for name in NAMES}
"""What ends up being called where somebody else stands in for a name as well."""

_originals: dict[str, Any] = {}
_deputies: dict[str, Any] = {}


def _stand_in(ear: Ear) -> None:
    if not _ears:
        for name in NAMES:
            _originals[name] = getattr(F, name)
            _deputies[name] = _deputy(name, _originals[name])
            setattr(F, name, _deputies[name])
    _ears.append(ear)


def _step_aside(ear: Ear) -> None:
    _ears.remove(ear)
    if not _ears:
        for name in NAMES:
            if getattr(F, name) is _deputies[name]:  # else another stands in for it meanwhile
                setattr(F, name, _originals[name])


def _deputy(name: str, original: Any) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(*args, **kwargs)
        ears = [ear for ear in _ears if ear.is_mine]
        for ear in ears:
            ear.name_called(name, args, kwargs)
            ear.is_inside = True  # torch's multi-head attention calls the other one
        try:
            return original(*args, **kwargs)
        finally:
            for ear in ears:
                ear.is_inside = False

    return call


def _name_of(func: Any) -> str | None:
    for name in NAMES:
        if func in (_BUILT_IN[name], _originals[name], _deputies[name]):
            return name
    return None
