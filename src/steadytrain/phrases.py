"""Causes and actions in words, English and Chinese."""

from collections.abc import Sequence

from steadytrain.actions import (
    FOR_GOOD,
    Action,
    AskPerson,
    BeginDecay,
    Cancel,
    ClipAttention,
    ExcludeRank,
    LeaveHost,
    LimitUpdates,
    Plan,
    ResetMoments,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetClipping,
    SetZLoss,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.events import Cause
from steadytrain.ranges import size
from steadytrain.sayings import say, word

_CLIPPING = {
    "zclip": "clip the gradient norm by its running mean and spread (zclip)",
    "adagc": "clip each tensor's gradient by its own history (adagc)",
    "spikes": "clip single elements of the gradient by their history (spikes)",
}
_CLIPPING_ZH = {
    "zclip": "按滑动均值与方差裁剪梯度范数（zclip）",
    "adagc": "按各张量自身的历史裁剪梯度（adagc）",
    "spikes": "按历史逐元素裁剪梯度尖峰（spikes）",
}


def phrase(name: str, lang: str) -> str:
    """A word of the judge's vocabulary in a language; unknown names stay as they are."""
    return word(name) if lang == "zh" else name.replace("_", " ")


def cause_words(cause: Cause, lang: str) -> str:
    """A cause with its defect and domain: `bad text (garbled, zh)`."""
    details = [phrase(one, lang) for one in (cause.defect,) if one]
    details += [cause.domain] if cause.domain else []
    name = phrase(cause.name, lang)
    if lang == "zh":
        return f"{name}（{'、'.join(details)}）" if details else name
    return f"{name} ({', '.join(details)})" if details else name


def plan_words(plan: Sequence[Plan], lang: str) -> str:
    """Actions in the order in which they are carried out."""
    words = [_action_zh(action) if lang == "zh" else _action(action) for action in plan]
    return ("；" if lang == "zh" else ", ").join(words)


def _action(action: Action) -> str:
    held = _held(action)
    match action:
        case SkipUpdate():
            return f"hold back update {action.step}"
        case RollBack():
            return f"roll back to step {action.to_step}"
        case SkipDraws():
            return f"leave out {size(action.ranges)} sequences"
        case ScaleLearningRate():
            again = f", re-warmed over {action.rewarm_steps} steps" if _ends(action) else ""
            return f"learning rate x{action.factor:g}{held}{again}"
        case ScaleEpsilon():
            return f"epsilon x{action.factor:g}"
        case ScaleShallowGradients():
            again = f", relaxed over {action.relax_steps} steps" if _ends(action) else ""
            where = "shallow gradients" if action.reach else "gradients of the embedding"
            return f"{where} x{action.alpha:g}{held}{again}"
        case SetZLoss():
            on = " on the largest logit" if action.form == "max" else ""
            again = f", relaxed over {action.relax_steps} steps" if _ends(action) else ""
            return f"z-loss {action.coefficient:g}{on}{held}{again}"
        case SetClipping():
            return f"{_CLIPPING[action.method]}{held}"
        case ResetMoments():
            return "reset the optimizer's moments"
        case LimitUpdates():
            return f"limit each tensor's update by its gradients' history{held}"
        case ClipAttention():
            return f"clip attention logits at {action.threshold:g}{held}"
        case ExcludeRank():
            return f"leave out the gradient of rank {action.rank}"
        case LeaveHost():
            return f"leave the host of rank {action.rank}"
        case BeginDecay():
            return "begin the decay"
        case Cancel():
            return f"end {action.remedy}"
        case AskPerson():
            return f"ask a person: {action.question}"
    return type(action).__name__


def _action_zh(action: Action) -> str:
    hold = getattr(action, "hold_steps", None)
    held = f"，保持 {hold} 步" if _ends(action) else "，此后一直如此" if hold else ""
    match action:
        case SkipUpdate():
            return f"拦下第 {action.step} 步的更新"
        case RollBack():
            return f"回滚到第 {action.to_step} 步"
        case SkipDraws():
            return f"剔除 {size(action.ranges)} 条序列"
        case ScaleLearningRate():
            again = f"，{action.rewarm_steps} 步内回升" if _ends(action) else ""
            return f"学习率乘以 {action.factor:g}{held}{again}"
        case ScaleEpsilon():
            return f"epsilon 乘以 {action.factor:g}"
        case ScaleShallowGradients():
            again = f"，{action.relax_steps} 步内恢复" if _ends(action) else ""
            where = "浅层梯度" if action.reach else "嵌入层梯度"
            return f"{where}乘以 {action.alpha:g}{held}{again}"
        case SetZLoss():
            on = "（取最大 logit）" if action.form == "max" else ""
            again = f"，{action.relax_steps} 步内恢复" if _ends(action) else ""
            return f"z-loss 设为 {action.coefficient:g}{on}{held}{again}"
        case SetClipping():
            return f"{_CLIPPING_ZH[action.method]}{held}"
        case ResetMoments():
            return "清零优化器动量"
        case LimitUpdates():
            return f"按梯度历史限制各张量的更新{held}"
        case ClipAttention():
            return f"注意力 logit 限于 {action.threshold:g}{held}"
        case ExcludeRank():
            return f"剔除 rank {action.rank} 的梯度"
        case LeaveHost():
            return f"撤离 rank {action.rank} 所在的主机"
        case BeginDecay():
            return "立即开始衰减"
        case Cancel():
            return f"撤销 {action.remedy}"
        case AskPerson():
            return f"请人决定：{say(action.question, 'zh')}"
    return type(action).__name__


def _held(action: Action) -> str:
    hold = getattr(action, "hold_steps", None)
    return f" for {hold} steps" if _ends(action) else " for good" if hold else ""


def _ends(action: Action) -> bool:
    """Whether it holds for some steps only."""
    hold = getattr(action, "hold_steps", None)
    return hold is not None and hold < FOR_GOOD
