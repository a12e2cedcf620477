"""What a person orders: can it be carried out now?"""

from steadytrain.actions import AskPerson, Plan, RollBack, SkipUpdate, ability, roll_back_step
from steadytrain.judge.state import State


def why_not(state: State, plan: tuple[Plan, ...]) -> str | None:
    """Why a person's plan cannot be carried out; None if it can be tried."""
    if not plan:
        return "its plan is empty"
    if state.case is not None and state.case.phase in ("treating", "trying"):
        return "a remedy is on its way; say it again when that is done"
    for action in plan:
        name = type(action).__name__
        if isinstance(action, AskPerson | SkipUpdate):
            return f"{name} is nothing that a person can order"
        if state.can is not None and ability(action) not in state.can:
            return f"{ability(action)} cannot be carried out in this run"
        if isinstance(action, RollBack) and action.to_step >= state.step:
            return f"step {action.to_step} is not before the present step {state.step}"
        if isinstance(action, RollBack) and action.to_step < state.begin:
            return f"the run began after step {state.begin}, later than step {action.to_step}"
        begins = getattr(action, "from_step", None)
        back = roll_back_step(plan)
        if begins is not None and begins < (state.step if back is None else back):
            return f"{name} would begin after step {begins}, which is over"
    return None
