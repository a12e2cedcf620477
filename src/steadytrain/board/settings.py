"""What a journal says of how a run was set up, as plain names and values."""

from typing import Any

from steadytrain.board.record import Record
from steadytrain.events import OptimizerSettings, StepRecord


def settings(record: Record) -> dict[str, str]:
    """Name -> value, nested ones by their path; what is not on record is left out."""
    began = record.began
    plain: dict[str, Any] = {
        "model": began.model[:12], "parameters": began.parameters, "world": began.world,
        "draws per step": began.draws_per_step, "ramp": began.ramp or None, "steps": began.steps,
        "domains": ", ".join(began.domains), "panel": (began.panel or "-")[:12],
        "panel every": began.panel_every, "data order": began.order,
        "layers": ", ".join(began.layers), "versions": began.versions, "judge": began.recipe,
    }  # fmt: skip
    first = next(iter(record.of(OptimizerSettings)), None)
    plain["optimizer"] = first.settings if first is not None else {}
    rates = [one.lr_planned for one in record.of(StepRecord) if one.lr_planned is not None]
    plain["highest learning rate"] = max(rates, default=None)
    return dict(_flat("", plain))


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [
            pair
            for key, inside in value.items()
            for pair in _flat(f"{name}.{key}" if name else str(key), inside)
        ]
    return (
        [] if value is None else [(name, f"{value:g}" if isinstance(value, float) else str(value))]
    )
