"""Settings of a session that make no sense, refused before anything is touched."""

from steadytrain.errors import SettingError


def refuse_nonsense(
    *,
    steps: int,
    every: dict[str, int],
    clip: float | None,
    z_loss: float,
) -> None:
    """Refuse numbers that no run could mean.

    Args:
        every: other whole numbers that must be 1 or more, by name.

    Raises:
        SettingError: the first of them.
    """
    for name, value in {"steps": steps, **every}.items():
        if value < 1:
            raise SettingError(f"{name}={value} would never come. Write {name}=1 or more.")
    if clip is not None and not clip > 0:
        raise SettingError(
            f"clip={clip} would stop every gradient. Write clip=1.0, or clip=None for no clipping."
        )
    if not 0 <= z_loss < 1:
        raise SettingError(
            f"z_loss={z_loss} is no usable coefficient: it would outweigh the loss or reward large "
            "logits. Write z_loss=1e-4 (PaLM), or 0 for none."
        )
