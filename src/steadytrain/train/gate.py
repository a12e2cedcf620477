"""Commit or skip this update, on the device: the reflex that needs no opinion of the host.

The judge publishes limits; the gate only compares. A skipped update changes neither weights nor
moments nor the optimizer's step counter.
"""

import warnings

import torch
from torch import Tensor


class Gate:
    """Lets an optimizer's update land or not.

    Fused Adam and AdamW take a device flag (`found_inf`) and skip inside their kernel, without a
    host sync. On the CPU the host simply looks. Any other optimizer on a GPU costs one host sync a
    step, said once.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        groups = optimizer.param_groups
        is_adam = isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW)
        self._has_flag = is_adam and all(group.get("fused") for group in groups)
        if not self._has_flag and device.type != "cpu":
            warnings.warn(
                "this optimizer cannot skip an update on the device, so the gate waits for the "
                "GPU once a step. Write torch.optim.AdamW(..., fused=True) to avoid it.",
                stacklevel=3,
            )

    def decide(
        self, loss: Tensor, grad_norm: Tensor, *, loss_limit: Tensor, grad_limit: Tensor
    ) -> Tensor:
        """1.0 to commit, 0.0 to skip: finite, and not beyond the limits (infinite = no limit)."""
        is_finite = torch.isfinite(loss) & torch.isfinite(grad_norm)
        is_within = (loss <= loss_limit) & (grad_norm <= grad_limit)
        return (is_finite & is_within).float()

    def step(self, commit: Tensor) -> None:
        """Run the optimizer's step if `commit` says so."""
        if self._has_flag:
            self._optimizer.grad_scale = None  # type: ignore[attr-defined]
            self._optimizer.found_inf = 1.0 - commit  # type: ignore[attr-defined]
            try:
                self._optimizer.step()
            finally:
                # A GradScaler sets and deletes these itself; leave none behind.
                del self._optimizer.grad_scale, self._optimizer.found_inf  # type: ignore[attr-defined]
        elif commit:
            self._optimizer.step()
