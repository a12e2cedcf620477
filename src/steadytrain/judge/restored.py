"""What to say of a restored state that is not as it was recorded."""

from steadytrain.events import Advice, RestoreVerified


def restore_advice(found: RestoreVerified) -> tuple[Advice, ...]:
    """Nothing of a state that was refused for an older one: that is told as it happens."""
    if not found.differences:
        return ()
    what = "; ".join(found.differences)
    if found.source == "rehearsal":
        return (
            Advice(
                topic="loss not comparable",
                text=f"Update {found.step + 1}: {what}. Restored states are compared without it, "
                "and steps made again will differ. Put autocast and what else the loop adds into "
                "the model's forward.",
            ),
        )
    if not found.taken:
        return ()
    return (
        Advice(
            topic="restored state differs",
            text=f"The run goes on after step {found.step} from {found.source}, and it is not as "
            f"recorded: {what}. No other state that was tried agrees better, so look for the "
            "reason around the states: another version, data order, schedule or machine.",
        ),
    )
