"""Events in plain words, English and Chinese: one line for each that a person would want to hear."""

from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    CheckpointFailed,
    CheckpointRefused,
    Diagnosis,
    Event,
    GiveUp,
    Incident,
    JudgingEnded,
    Outcome,
    PanelDrawn,
    PersonSaid,
    ProcessExited,
    Proposal,
    Remedy,
    RemedyDone,
    ReplicasChanged,
    Restart,
    RestoreVerified,
    RunBranched,
    RunEnded,
    Trend,
    Trial,
    TrialDone,
    TrialWanted,
)
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.stories import drawn_words, trend_words


def sentence(event: Event, *, lang: str = "en", domains: tuple[str, ...] = ()) -> str | None:
    """One line about an event; None for what nobody needs to hear as it happens."""
    match event:
        case Trend():
            return trend_words(event, lang=lang)
        case PanelDrawn():
            return drawn_words(event, domains, lang=lang)
    return _chinese(event) if lang == "zh" else _english(event)


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
            return f"step {event.step}: remedy: {plan_words(event.plan, 'en')}: {event.why}"
        case Proposal():
            return (
                f"step {event.step}: {event.id} is proposed: {plan_words(event.plan, 'en')}: "
                f"{event.why}"
            )
        case PersonSaid():
            why = f": {event.words}" if event.words else ""
            return f"step {event.step}: {event.who} {_said(event)}{why}"
        case TrialWanted():
            return (
                f"step {event.step}: {len(event.candidates)} remedies are tried, "
                f"{event.updates} updates each"
            )
        case TrialDone():
            tried = [f"{plan_words(one.plan, 'en')}: {_trial(one)}" for one in event.trials]
            return f"step {event.step}: tried: {'; '.join(tried)}"
        case RestoreVerified(source="rehearsal") | RestoreVerified(taken=True):
            return None  # said by the advice that follows, if there is something to say
        case RestoreVerified(differences=()):
            what = ", ".join(event.checked)
            return f"step {event.step}: the {event.source} restored is as on record ({what})"
        case RestoreVerified():
            return (
                f"step {event.step}: the {event.source} restored is refused: "
                f"{'; '.join(event.differences)}"
            )
        case RunBranched():
            return f"step {event.step}: branched from {event.run}, {event.checkpoint}"
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
        case ReplicasChanged():
            who = "1 replica makes" if event.replicas == 1 else f"{event.replicas} replicas share"
            also = "; this one stands by" if event.place is None else ""
            again = f"; {event.discarded} lost and made again" if event.discarded else ""
            return f"step {event.step}: {who} the updates{again}{also}"
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
            return f"第 {event.step} 步：处置：{plan_words(event.plan, 'zh')}（{event.why}）"
        case Proposal():
            return f"第 {event.step} 步：提议 {event.id}：{plan_words(event.plan, 'zh')}（{event.why}）"
        case PersonSaid():
            why = f"：{event.words}" if event.words else ""
            return f"第 {event.step} 步：{event.who} {_said_zh(event)}{why}"
        case TrialWanted():
            return (
                f"第 {event.step} 步：试验 {len(event.candidates)} 种处置，"
                f"各做 {event.updates} 次更新"
            )
        case TrialDone():
            tried = [f"{plan_words(one.plan, 'zh')}：{_trial(one)}" for one in event.trials]
            return f"第 {event.step} 步：试验结果：{'；'.join(tried)}"
        case RestoreVerified(source="rehearsal") | RestoreVerified(taken=True):
            return None
        case RestoreVerified(differences=()):
            what = "、".join(event.checked)
            return f"第 {event.step} 步：从 {event.source} 恢复的状态与记录一致（{what}）"
        case RestoreVerified():
            return (
                f"第 {event.step} 步：从 {event.source} 恢复的状态被拒绝："
                f"{'；'.join(event.differences)}"
            )
        case RunBranched():
            return f"第 {event.step} 步：自 {event.run} 的 {event.checkpoint} 分出"
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
            named = event.checkpoint or "起点"
            source = "另一副本" if named == "another replica" else named
            return f"第 {event.step} 步：从 {source} 续训"
        case ReplicasChanged():
            also = "；本副本待命" if event.place is None else ""
            again = f"；丢失的 {event.discarded} 次更新已重做" if event.discarded else ""
            return f"第 {event.step} 步：{event.replicas} 个副本分担更新{again}{also}"
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


def _said(word: PersonSaid) -> str:
    match word.verb:
        case "accept":
            return f"accepts {word.remedy}"
        case "refuse":
            return f"refuses {word.remedy}"
        case "order":
            return f"orders: {plan_words(word.plan, 'en')}"
    return f"sets the mode to '{word.verb}'"


def _said_zh(word: PersonSaid) -> str:
    match word.verb:
        case "accept":
            return f"同意 {word.remedy}"
        case "refuse":
            return f"拒绝 {word.remedy}"
        case "order":
            return f"下令：{plan_words(word.plan, 'zh')}"
    return f"将模式设为“{phrase(word.verb, 'zh')}”"


def _trial(trial: Trial) -> str:
    """Loss of the control batch after a trial, or else its last loss. [nats/token]"""
    loss = trial.losses[-1:] if trial.control is None else (trial.control,)
    return f"{loss[0]:.4g}" if loss else "?"
