"""Events in plain words, English and Chinese: one line for each that a person would want to hear."""

from steadytrain.events import (
    Advice,
    Alarm,
    AlertAcknowledged,
    AlertSent,
    AttemptBegan,
    BatchExamined,
    CheckpointFailed,
    CheckpointMirrored,
    CheckpointRefused,
    CheckpointSaved,
    CopiesLacking,
    Diagnosis,
    Event,
    GiveUp,
    Heartbeat,
    HostGone,
    HostsWaiting,
    Incident,
    JudgeState,
    JudgingEnded,
    MirrorFailed,
    OptimizerSettings,
    Outcome,
    PanelDrawn,
    PanelRecord,
    PanelWanted,
    PersonSaid,
    ProcessExited,
    Proposal,
    Remedy,
    RemedyDone,
    ReplicasChanged,
    ReplicasCompared,
    Restart,
    RestoreVerified,
    RunBegan,
    RunBranched,
    RunEnded,
    StatesBrought,
    StepRecord,
    Straggler,
    Trend,
    Trial,
    TrialDone,
    TrialWanted,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import translated
from steadytrain.stories import drawn_words, trend_words

SILENT: tuple[type[Event], ...] = (
    AlertSent,
    BatchExamined,
    CheckpointMirrored,
    CheckpointSaved,
    Heartbeat,
    JudgeState,
    OptimizerSettings,
    PanelRecord,
    PanelWanted,
    ReplicasCompared,
    RunBegan,
    StepRecord,
    WorkersStarted,
)
"""Kinds that nobody needs to hear of as they happen: numbers, and what a judgment follows soon."""


def sentence(event: Event, *, lang: str = "en", domains: tuple[str, ...] = ()) -> str | None:
    """One line about an event; None for what nobody needs to hear as it happens."""
    match event:
        case Trend():
            return trend_words(event, lang=lang)
        case PanelDrawn():
            return drawn_words(event, domains, lang=lang)
    return _chinese(translated(event, lang)) if lang == "zh" else _english(event)


def _english(event: Event) -> str | None:
    match event:
        case Alarm(direction="differs"):
            return f"step {event.step}: {event.signal} differ: {event.value:.0f} of the ranks"
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
        case MirrorFailed():
            at = "" if event.step is None else f"step {event.step}: "
            return f"{at}the mirror failed: {event.reason}"
        case CheckpointFailed():
            return f"step {event.step}: no checkpoint could be saved: {event.reason}"
        case JudgingEnded():
            return (
                f"step {event.step}: the judge failed, training goes on UNGUARDED: {event.reason}"
            )
        case ProcessExited(hung=True):
            where = f" ({event.error})" if event.error else ""
            return (
                f"rank {event.rank} hung in {event.phase}{where}, silent for "
                f"{event.silent_seconds:.1f} s, after step {event.step}"
            )
        case ProcessExited():
            how = f"killed by {event.signal}" if event.signal else f"ended with status {event.code}"
            why = f": {event.error}" if event.error else ""
            return f"rank {event.rank} {how} after step {event.step}{why}"
        case Straggler():
            return (
                f"step {event.step}: rank {event.rank} is slow: since step {event.first} it needs "
                f"{event.seconds:.3g} s a step for its own work, the others "
                f"{event.others_seconds:.3g} s, and they wait for it"
            )
        case WorkersFinished():
            return "every rank has ended well"
        case HostGone(why="distrusted"):
            return (
                f"host {event.host} is left, since a rank of its own does not trust it, and with it "
                f"ranks {_numbers(event.ranks)}"
            )
        case HostGone(why="left"):
            return f"host {event.host} has left, and with it ranks {_numbers(event.ranks)}"
        case HostGone():
            return (
                f"host {event.host} has been silent for {event.silent_seconds or 0.0:.0f} s and "
                f"counts as lost, and with it ranks {_numbers(event.ranks)}"
            )
        case HostsWaiting():
            return f"{', '.join(event.hosts)} came back or anew, and can be let in"
        case CopiesLacking():
            return f"the states of host {event.host} have no new copy: {event.why}"
        case StatesBrought(step=None):
            return f"the states in memory are of no use to this start: {event.why}"
        case StatesBrought():
            where = ", ".join(sorted(set(event.hosts))) or "nowhere"
            lack = f"; some are lacking: {event.why}" if event.why else ""
            return (
                f"states of step {event.step} were brought from the memory of {where} for ranks "
                f"{_numbers(event.ranks)}, in {event.seconds:.1f} s{lack}"
            )
        case Restart():
            return f"starting again: {event.why}"
        case GiveUp():
            return f"giving up: {event.why}"
        case AlertAcknowledged():
            why = f": {event.words}" if event.words else ""
            return f"{event.who} has seen {event.thread}{why}"
        case RunEnded():
            return f"step {event.step}: the run has ended"
    return None


def _chinese(event: Event) -> str | None:
    match event:
        case Alarm(direction="differs"):
            return f"第 {event.step} 步：{phrase(event.signal, 'zh')}不一致，涉及 {event.value:.0f} 个 rank"
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
            return f"第 {event.step} 步：事件 {event.id} 关闭：{event.reason}"
        case Diagnosis():
            top = event.causes[0]
            why = f"：{top.evidence[0]}" if top.evidence else ""
            words = cause_words(top, "zh")
            return f"第 {event.step} 步：诊断：{words}，把握 {top.confidence:.0%}{why}"
        case Remedy():
            return f"第 {event.step} 步：处置：{plan_words(event.plan, 'zh')}。理由：{event.why}"
        case Proposal():
            plan = plan_words(event.plan, "zh")
            return f"第 {event.step} 步：提议 {event.id}：{plan}。理由：{event.why}"
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
            what = "、".join(phrase(one, "zh") for one in event.checked)
            source = phrase(event.source, "zh")
            return f"第 {event.step} 步：从{_gap(source)}恢复的状态与记录一致（{what}）"
        case RestoreVerified():
            source = phrase(event.source, "zh")
            return (
                f"第 {event.step} 步：从{_gap(source)}恢复的状态未被采用："
                f"{'；'.join(event.differences)}"
            )
        case RunBranched():
            return f"第 {event.step} 步：自 {event.run} 的 {event.checkpoint} 分出"
        case RemedyDone():
            source = phrase(event.source or "", "zh")
            origin = f"，由{_gap(source)}恢复到第 {event.restored_step} 步"
            back = origin if event.restored_step is not None else ""
            return f"第 {event.step} 步：{event.remedy} 已执行{back}"
        case Outcome():
            result = phrase(event.result, "zh")
            return f"第 {event.step} 步：{event.remedy} {result}：{event.why}"
        case Advice():
            return event.text
        case AttemptBegan(cause="restart"):
            origin = phrase(event.checkpoint or "the beginning", "zh")
            return f"第 {event.step} 步：从{_gap(origin)}续训"
        case ReplicasChanged():
            also = "；本副本待命" if event.place is None else ""
            again = f"；丢失的 {event.discarded} 次更新已重做" if event.discarded else ""
            return f"第 {event.step} 步：{event.replicas} 个副本分担更新{again}{also}"
        case CheckpointRefused():
            return f"检查点 {phrase(event.path, 'zh')} 未被采用：{event.reason}"
        case MirrorFailed():
            at = "" if event.step is None else f"第 {event.step} 步："
            return f"{at}异地副本未能写入：{event.reason}"
        case CheckpointFailed():
            return f"第 {event.step} 步：检查点未能保存：{event.reason}"
        case JudgingEnded():
            return f"第 {event.step} 步：判断器出错，训练继续但失去看护：{event.reason}"
        case ProcessExited(hung=True):
            where = f"（{event.error}）" if event.error else ""
            return (
                f"rank {event.rank} 卡在{phrase(event.phase or '', 'zh')}阶段{where}，"
                f"静默 {event.silent_seconds:.1f} 秒，停在第 {event.step} 步之后"
            )
        case ProcessExited():
            how = f"被 {event.signal} 杀死" if event.signal else f"以状态 {event.code} 退出"
            why = f"：{event.error}" if event.error else ""
            return f"rank {event.rank} 在第 {event.step} 步之后{how}{why}"
        case Straggler():
            return (
                f"第 {event.step} 步：rank {event.rank} 偏慢：自第 {event.first} 步以来，自身计算每步 "
                f"{event.seconds:.3g} 秒，其他 rank 只要 {event.others_seconds:.3g} 秒，都在等它"
            )
        case WorkersFinished():
            return "所有 rank 均已正常结束"
        case HostGone(why="distrusted"):
            return (
                f"主机 {event.host} 上的 rank 认为该主机不可信，因此弃用该主机，"
                f"其上的 rank {_numbers(event.ranks)} 随之退出"
            )
        case HostGone(why="left"):
            return f"主机 {event.host} 离开，其上的 rank {_numbers(event.ranks)} 随之退出"
        case HostGone():
            return (
                f"主机 {event.host} 已有 {event.silent_seconds or 0.0:.0f} 秒没有音讯，视为失联，"
                f"其上的 rank 为 {_numbers(event.ranks)}"
            )
        case HostsWaiting():
            return f"主机 {'、'.join(event.hosts)} 已就绪，可以加入"
        case CopiesLacking():
            return f"主机 {event.host} 的状态没有新的副本：{event.why}"
        case StatesBrought(step=None):
            return f"内存中的状态不能用于本次启动：{event.why}"
        case StatesBrought():
            where = "、".join(sorted(set(event.hosts))) or "无"
            lack = f"；有缺失：{event.why}" if event.why else ""
            return (
                f"第 {event.step} 步的状态已从 {where} 的内存取回，供 rank {_numbers(event.ranks)} 使用，"
                f"用时 {event.seconds:.1f} 秒{lack}"
            )
        case Restart():
            return f"重新启动：{event.why}"
        case GiveUp():
            return f"放弃启动：{event.why}"
        case AlertAcknowledged():
            why = f"：{event.words}" if event.words else ""
            return f"{event.who} 已知悉 {event.thread}{why}"
        case RunEnded():
            return f"第 {event.step} 步：训练结束"
    return None


def _gap(words: str) -> str:
    """A Latin name with the gaps that it needs between Chinese characters."""
    return f" {words} " if words.isascii() else words


def _numbers(ranks: tuple[int, ...]) -> str:
    return ", ".join(map(str, ranks)) if ranks else "-"


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
