"""Events in plain words, English and Chinese: one line for each that a person would want to hear."""

from steadytrain import causes
from steadytrain.actions import (
    Action,
    AskPerson,
    BeginDecay,
    RollBack,
    ScaleEpsilon,
    ScaleLearningRate,
    ScaleShallowGradients,
    SetZLoss,
    SkipDraws,
    SkipUpdate,
)
from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    Cause,
    CheckpointFailed,
    CheckpointRefused,
    Diagnosis,
    Event,
    GiveUp,
    Incident,
    JudgingEnded,
    Outcome,
    ProcessExited,
    Remedy,
    RemedyDone,
    Restart,
    RunEnded,
)
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
}


def phrase(name: str, lang: str) -> str:
    """A word of the judge's vocabulary in a language; unknown names stay as they are."""
    if lang != "zh":
        return name.replace("_", " ")
    head, mark, domain = name.partition(":")
    return f"{_ZH.get(head, head)}{mark}{domain}"


def sentence(event: Event, *, lang: str = "en", domains: tuple[str, ...] = ()) -> str | None:
    """One line about an event; None for what nobody needs to hear as it happens."""
    return _chinese(event) if lang == "zh" else _english(event)


def cause_words(cause: Cause, lang: str) -> str:
    """A cause with its defect and domain: `bad text (garbled, zh)`."""
    details = [phrase(one, lang) for one in (cause.defect,) if one]
    details += [cause.domain] if cause.domain else []
    name = phrase(cause.name, lang)
    return f"{name} ({', '.join(details)})" if details else name


def plan_words(remedy: Remedy, lang: str) -> str:
    """A remedy's actions in the order in which they are carried out."""
    words = [_action_zh(action) if lang == "zh" else _action(action) for action in remedy.plan]
    return ("、" if lang == "zh" else ", ").join(words)


def _english(event: Event) -> str | None:
    match event:
        case Alarm():
            return (
                f"step {event.step}: {event.signal} {event.direction}: {event.value:.4g} where "
                f"{event.expected:.4g} was expected ({event.score:+.1f} sigma)"
            )
        case Incident(change="opened"):
            return f"step {event.step}: {event.id} opened, first affected step {event.onset}"
        case Incident(change="grew"):
            return f"step {event.step}: {event.id} goes on, evidence is gathered again"
        case Incident(change="closed"):
            return f"step {event.step}: {event.id} closed: {event.reason}"
        case Diagnosis():
            top = event.causes[0]
            why = f": {top.evidence[0]}" if top.evidence else ""
            return (
                f"step {event.step}: it is {cause_words(top, 'en')}, {top.confidence:.0%} sure{why}"
            )
        case Remedy():
            return f"step {event.step}: remedy: {plan_words(event, 'en')}: {event.why}"
        case RemedyDone():
            where = f", from the {event.source} of step {event.restored_step}"
            back = where if event.restored_step is not None else ""
            return f"step {event.step}: {event.remedy} carried out{back}"
        case Outcome():
            return f"step {event.step}: {event.remedy}: {event.result}: {event.why}"
        case Advice():
            return event.text
        case AttemptBegan(cause="restart"):
            origin = event.checkpoint or "the beginning"
            return f"step {event.step}: resumed from {origin}"
        case CheckpointRefused():
            return f"checkpoint {event.path} refused: {event.reason}"
        case CheckpointFailed():
            return f"step {event.step}: no checkpoint could be saved: {event.reason}"
        case JudgingEnded():
            return (
                f"step {event.step}: the judge failed, training goes on UNGUARDED: {event.reason}"
            )
        case ProcessExited(hung=True):
            return (
                f"rank {event.rank} hung in {event.phase}, silent for {event.silent_seconds:.1f} s, "
                f"after step {event.step}"
            )
        case ProcessExited():
            how = f"killed by {event.signal}" if event.signal else f"ended with status {event.code}"
            return f"rank {event.rank} {how} after step {event.step}"
        case Restart():
            return f"starting again: {event.why}"
        case GiveUp():
            return f"giving up: {event.why}"
        case RunEnded():
            return f"step {event.step}: the run has ended"
    return None


def _chinese(event: Event) -> str | None:
    match event:
        case Alarm():
            return (
                f"第 {event.step} 步：{phrase(event.signal, 'zh')}{phrase(event.direction, 'zh')}，"
                f"实测 {event.value:.4g}，预期 {event.expected:.4g}（{event.score:+.1f} σ）"
            )
        case Incident(change="opened"):
            return f"第 {event.step} 步：事件 {event.id} 开启，最早受影响的是第 {event.onset} 步"
        case Incident(change="grew"):
            return f"第 {event.step} 步：事件 {event.id} 仍在继续，重新取证"
        case Incident(change="closed"):
            return f"第 {event.step} 步：事件 {event.id} 关闭：{phrase(event.reason, 'zh')}"
        case Diagnosis():
            top = event.causes[0]
            why = f"：{top.evidence[0]}" if top.evidence else ""
            words = cause_words(top, "zh")
            return f"第 {event.step} 步：诊断为{words}，把握 {top.confidence:.0%}{why}"
        case Remedy():
            return f"第 {event.step} 步：处置：{plan_words(event, 'zh')}（{event.why}）"
        case RemedyDone():
            origin = f"，恢复自第 {event.restored_step} 步的{event.source}"
            back = origin if event.restored_step is not None else ""
            return f"第 {event.step} 步：{event.remedy} 已执行{back}"
        case Outcome():
            result = phrase(event.result, "zh")
            return f"第 {event.step} 步：{event.remedy} {result}，其后 {event.steps} 步正常"
        case Advice():
            return event.text
        case AttemptBegan(cause="restart"):
            return f"第 {event.step} 步：从 {event.checkpoint or '起点'} 续训"
        case CheckpointRefused():
            return f"检查点 {event.path} 被拒绝：{event.reason}"
        case CheckpointFailed():
            return f"第 {event.step} 步：检查点未能保存：{event.reason}"
        case JudgingEnded():
            return f"第 {event.step} 步：判断器出错，训练失去看护：{event.reason}"
        case ProcessExited(hung=True):
            return (
                f"进程 {event.rank} 卡在 {event.phase}，静默 {event.silent_seconds:.1f} 秒，"
                f"停在第 {event.step} 步之后"
            )
        case ProcessExited():
            how = f"被 {event.signal} 杀死" if event.signal else f"以状态 {event.code} 退出"
            return f"进程 {event.rank} 在第 {event.step} 步之后{how}"
        case Restart():
            return f"重新启动：{event.why}"
        case GiveUp():
            return f"放弃：{event.why}"
        case RunEnded():
            return f"第 {event.step} 步：训练结束"
    return None


def _action(action: Action) -> str:
    match action:
        case SkipUpdate():
            return f"hold back update {action.step}"
        case RollBack():
            return f"roll back to step {action.to_step}"
        case SkipDraws():
            return f"leave out {size(action.ranges)} sequences"
        case ScaleLearningRate():
            return f"learning rate x{action.factor:g}, re-warmed over {action.rewarm_steps} steps"
        case ScaleEpsilon():
            return f"epsilon x{action.factor:g}"
        case ScaleShallowGradients():
            return f"shallow gradients x{action.alpha:g}, relaxed over {action.relax_steps} steps"
        case SetZLoss():
            return f"z-loss {action.coefficient:g}"
        case BeginDecay():
            return "begin the decay"
        case AskPerson():
            return f"ask a person: {action.question}"
    return type(action).__name__


def _action_zh(action: Action) -> str:
    match action:
        case SkipUpdate():
            return f"拦下第 {action.step} 步的更新"
        case RollBack():
            return f"回滚到第 {action.to_step} 步"
        case SkipDraws():
            return f"剔除 {size(action.ranges)} 条序列"
        case ScaleLearningRate():
            return f"学习率乘 {action.factor:g}，{action.rewarm_steps} 步内回升"
        case ScaleEpsilon():
            return f"epsilon 乘 {action.factor:g}"
        case ScaleShallowGradients():
            return f"浅层梯度乘 {action.alpha:g}，{action.relax_steps} 步内恢复"
        case SetZLoss():
            return f"z-loss 设为 {action.coefficient:g}"
        case BeginDecay():
            return "提前衰减"
        case AskPerson():
            return f"请人决定：{action.question}"
    return type(action).__name__
