"""Words of the judge and names of actions, English and Chinese."""

from collections.abc import Sequence

from steadytrain import causes
from steadytrain.actions import (
    Action,
    AskPerson,
    BeginDecay,
    Cancel,
    ClipAttention,
    ExcludeRank,
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

_ZH = {
    causes.BAD_TEXT: "坏文本",
    causes.REPEATED_DATA: "重复数据",
    causes.MIXTURE: "数据配比",
    causes.EPSILON: "epsilon 过大",
    causes.CORRUPTED_MOMENTS: "动量损坏",
    causes.CORRUPTED_GRADIENT: "梯度损坏",
    causes.SHALLOW_GRADIENTS: "浅层梯度爆发",
    causes.LOGIT_GROWTH: "logit 增长",
    causes.LEARNING_RATE: "学习率",
    causes.OVERFLOW: "数值溢出",
    causes.CORRUPTED_WEIGHTS: "权重损坏",
    causes.OPTIMIZER_STATE: "优化器状态",
    causes.INSTABILITY: "训练不稳定",
    causes.HARD_BATCH: "难批次",
    causes.NOT_KNOWN: "尚不明确",
    causes.REWARM: "学习率回升的隆起",
    causes.ANNEALING: "退火",
    causes.STARVED: "领域缺数据",
    causes.STABILITY_GAP: "稳定性缺口",
    causes.LEARNING: "正在学习该领域",
    causes.LEAKED: "样本泄漏",
    causes.CORRUPT_SOURCE: "来源损坏",
    causes.UNSTABLE: "模型不稳定",
    causes.HARDER_BATCHES: "批次变难",
    "explained": "已作解释",
    "came true": "应验",
    "did not": "未应验",
    "gave way": "让位于别的解释",
    "panel": "固定样本损失",
    "killed": "被杀死",
    "hung": "卡死",
    "crashed": "崩溃",
    "torn checkpoint": "检查点残缺",
    "rise": "上升",
    "drop": "下降",
    "not finite": "非有限值",
    "stalled": "停滞",
    "cured": "已治愈",
    "not cured": "未治愈",
    "worse": "恶化",
    "blank": "空白",
    "garbled": "乱码",
    "encoded": "编码数据",
    "repetition": "重复",
    "markup": "标记",
    "wrong_domain": "领域不符",
    "loss": "损失",
    "grad norm": "梯度范数",
    "update": "更新幅度",
    "loss scale": "损失缩放",
    "text": "文本",
    "repeats": "重复",
    "lr ratio": "学习率比",
    "logsumexp": "logsumexp",
    "optimizer": "优化器设置",
    "changed": "被改动",
    "tokens/s": "吞吐",
    "observe": "只看",
    "ask": "先问",
    "act": "自行处置",
    "it went away by itself": "自行消失",
    "it went away while a person was asked": "等人决定时自行消失",
    "it did not come back": "没有再现",
}

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
    if lang != "zh":
        return name.replace("_", " ")
    head, mark, domain = name.partition(":")
    return f"{_ZH.get(head, head)}{mark}{domain}"


def cause_words(cause: Cause, lang: str) -> str:
    """A cause with its defect and domain: `bad text (garbled, zh)`."""
    details = [phrase(one, lang) for one in (cause.defect,) if one]
    details += [cause.domain] if cause.domain else []
    name = phrase(cause.name, lang)
    return f"{name} ({', '.join(details)})" if details else name


def plan_words(plan: Sequence[Plan], lang: str) -> str:
    """Actions in the order in which they are carried out."""
    words = [_action_zh(action) if lang == "zh" else _action(action) for action in plan]
    return ("、" if lang == "zh" else ", ").join(words)


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
            again = f", re-warmed over {action.rewarm_steps} steps" if held else ""
            return f"learning rate x{action.factor:g}{held}{again}"
        case ScaleEpsilon():
            return f"epsilon x{action.factor:g}"
        case ScaleShallowGradients():
            again = f", relaxed over {action.relax_steps} steps" if held else ""
            where = "shallow gradients" if action.reach else "gradients of the embedding"
            return f"{where} x{action.alpha:g}{held}{again}"
        case SetZLoss():
            on = " on the largest logit" if action.form == "max" else ""
            again = f", relaxed over {action.relax_steps} steps" if held else ""
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
        case BeginDecay():
            return "begin the decay"
        case Cancel():
            return f"end {action.remedy}"
        case AskPerson():
            return f"ask a person: {action.question}"
    return type(action).__name__


def _action_zh(action: Action) -> str:
    hold = getattr(action, "hold_steps", None)
    held = "" if hold is None else f"，保持 {hold} 步"
    match action:
        case SkipUpdate():
            return f"拦下第 {action.step} 步的更新"
        case RollBack():
            return f"回滚到第 {action.to_step} 步"
        case SkipDraws():
            return f"剔除 {size(action.ranges)} 条序列"
        case ScaleLearningRate():
            again = f"，{action.rewarm_steps} 步内回升" if held else ""
            return f"学习率乘 {action.factor:g}{held}{again}"
        case ScaleEpsilon():
            return f"epsilon 乘 {action.factor:g}"
        case ScaleShallowGradients():
            again = f"，{action.relax_steps} 步内恢复" if held else ""
            where = "浅层梯度" if action.reach else "嵌入层梯度"
            return f"{where}乘 {action.alpha:g}{held}{again}"
        case SetZLoss():
            on = "（取最大 logit）" if action.form == "max" else ""
            again = f"，{action.relax_steps} 步内恢复" if held else ""
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
        case BeginDecay():
            return "提前衰减"
        case Cancel():
            return f"撤销 {action.remedy}"
        case AskPerson():
            return f"请人决定：{action.question}"
    return type(action).__name__


def _held(action: Action) -> str:
    hold = getattr(action, "hold_steps", None)
    return "" if hold is None else f" for {hold} steps"
