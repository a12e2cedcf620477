"""`steadytrain status RUN`: how a run is, in some lines or as JSON; `watch` shares its words."""

import argparse
import json
import math
from typing import Any

from steadytrain import metrics, vitals
from steadytrain.goodput_words import part_words
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import say
from steadytrain.spans import span
from steadytrain.stints import PARTS
from steadytrain.vitals import State, Vitals
from steadytrain.widths import padded
from steadytrain.wording import sentence

_WORDS: dict[str, tuple[str, str]] = {
    "no run": ("no run", "没有训练"),
    "starting": ("starting", "正在启动"),
    "running": ("running", "运行中"),
    "silent": ("SILENT", "停滞"),
    "down": ("DOWN", "已停机"),
    "gave up": ("GAVE UP", "已放弃"),
    "ended": ("ended", "已结束"),
    "step": ("step", "步数"),
    "tokens": ("tokens", "词元"),
    "pace": ("pace", "速度"),
    "loss": ("loss", "损失"),
    "panel": ("panel", "固定样本"),
    "of step": ("of step {step}", "第 {step} 步"),
    "checkpoint": ("checkpoint", "检查点"),
    "mirror": ("mirror", "异地副本"),
    "copies": ("neighbours", "邻机副本"),
    "none yet": ("none yet", "还没有"),
    "ago": ("{time} ago", "{time}前"),
    "processes": ("processes", "进程"),
    "ranks": ("ranks", "各 rank"),
    "kept": ("kept", "有效"),
    "goodput": ("goodput", "有效时间"),
    "spent": ("{share:.1%} of {time}", "{time}中的 {share:.1%}"),
    "alerts": ("alerts", "告警"),
    "per second": ("{tokens:,.0f} tokens/s", "{tokens:,.0f} 词元/秒"),
    "left": ("{time} left", "还需 {time}"),
    "per step": ("{time} a step", "每步 {time}"),
    "nothing open": ("incidents: none open, {count} so far", "事件：当前没有未结的，累计 {count} 起"),
    "open": ("OPEN: {id} since step {step}: {what}", "未结：{id}，自第 {step} 步：{what}"),
    "not examined": ("not examined yet", "尚未取证"),
    "seen by": (" (seen by {who})", "（{who} 已确认）"),
    "proposed": ("proposed: {id}: {plan}", "提议 {id}：{plan}"),
    "in force": ("in force: {id}: {plan}{until}", "执行中 {id}：{plan}{until}"),
    "until": (", until step {step}", "，至第 {step} 步"),
    "asked": ("a person is asked: {id}: {plan}", "请人决定 {id}：{plan}"),
    "restarts": ("{restarts} restarts, {died} died, {hung} hung",
                 "重启 {restarts} 次，退出 {died} 次，卡死 {hung} 次"),
    "lost": ("{share:.2%} of {made:,} updates; {lost:,} made again, {skipped:,} held back",
             "{made:,} 次更新中有效 {share:.2%}；重做 {lost:,}，拦下 {skipped:,}"),
    "failed": ("; {count} in a row FAILED", "；连续失败 {count} 次"),
    "unguarded": ("UNGUARDED: the judge has failed", "训练失去看护：判断器出错"),
    "last line": ("last sign of movement {time} ago", "最近一次动静在 {time}前"),
    "damaged": ("{count} damaged lines in the journal were passed over", "日志中有 {count} 行损坏，已跳过"),
    "unknown": ("{count} lines are of a newer version", "日志中有 {count} 行来自更新的版本"),
    "mode": ("mode {mode}, attempt {attempt}", "模式：{mode}，第 {attempt} 段"),
    "gone": ("gone", "已不在"),
    "and": (", ", "，"),
    "sure": ("{cause}, {share:.0%}", "{cause}，把握 {share:.0%}"),
    "share": (" ({share:.1%})", "（{share:.1%}）"),
}  # fmt: skip

MOST_LOSSES, LEAST_SHARE = 3, 0.001
"""Parts of the time that are shown beside the productive one: the largest, from 0.1 % on."""

MOST_SHOWN = 8
"""Domains, incidents or ranks of a line or a list; a terminal has no more room."""


def word(name: str, lang: str, **values: object) -> str:
    found = _WORDS[name][lang == "zh"]
    return found.format(**values) if values else found


def run(options: argparse.Namespace) -> int:
    """Print how the run is. 0: it runs or has ended; 1: somebody should look.

    Raises:
        JournalError: the home holds no run.
    """
    found = vitals.read(options.home)
    if options.metrics:
        print(metrics.metrics([found]), end="")
        return 0
    lines = shown(found, options.lang)
    print(json.dumps(plain(found)) if options.json else "\n".join(lines))
    return 1 if needs_somebody(found) else 0


def needs_somebody(found: Vitals) -> bool:
    """Whether a person should look: it does not move, is unguarded, or waits for one."""
    bad: tuple[State, ...] = ("silent", "down", "gave up", "no run")
    standing = found.standing
    waits = bool(standing.proposals or standing.asks()) and not standing.has_ended
    return found.state in bad or not found.is_judging or waits


def shown(found: Vitals, lang: str = "en") -> list[str]:
    """Some lines for a terminal."""
    began = found.standing.began
    if began is None:
        return [f"{found.home}: {word(found.state, lang)}"]
    mark = "：" if lang == "zh" else ": "
    rows = [f"{began.run}{mark}{headline(found, lang)}"]
    rows += [f"  {padded(name, 12)}{text}" for name, text in facts(found, lang)]
    rows += [f"  {line}" for line in concerns(found, lang)]
    return rows


def headline(found: Vitals, lang: str) -> str:
    """State, step and mode."""
    standing = found.standing
    total = standing.began.steps if standing.began is not None else None
    share = word("share", lang, share=standing.step / total) if total else ""
    mode = word("mode", lang, mode=phrase(standing.mode, lang), attempt=standing.attempt)
    name = word("step", lang)
    where = f"{name} {standing.step:,} / {total or '?'}{share}"
    return word("and", lang).join((word(found.state, lang), where, mode))


def facts(found: Vitals, lang: str) -> list[tuple[str, str]]:
    """Names and numbers, in their order."""
    rows = [
        (word("pace", lang), _pace(found, lang)),
        (word("tokens", lang), f"{found.timesheet.tokens:,}"),
        (word("loss", lang), _losses(found)),
        (word("panel", lang), _panel(found, lang)),
        (word("checkpoint", lang), _checkpoint(found, lang)),
        (word("mirror", lang), _mirror(found, lang)),
        (word("copies", lang), _copies(found, lang)),
        (word("kept", lang), _kept(found, lang)),
        (word("goodput", lang), _goodput(found, lang)),
        (word("processes", lang), _processes(found, lang)),
        (word("ranks", lang), _ranks(found, lang)),
        (word("alerts", lang), _alerts(found)),
    ]
    return [(name, text) for name, text in rows if text]


def concerns(found: Vitals, lang: str) -> list[str]:
    """What somebody may have to look at, and what holds now."""
    standing = found.standing
    lines = []
    if not found.is_judging:
        lines.append(word("unguarded", lang))
    if found.gave_up is not None:
        lines.append(say(found.gave_up.why, lang))
    elif found.last_exit is not None and not standing.has_ended:
        exited = found.last_exit
        lines.append(sentence(exited, lang=lang) or "")
    if found.mirror_failed is not None:
        lines.append(sentence(found.mirror_failed, lang=lang) or "")
    lines += [_incident(found, name, lang) for name in list(standing.incidents)[-MOST_SHOWN:]]
    if not standing.incidents:
        lines.append(word("nothing open", lang, count=found.num_incidents))
    for proposal in standing.proposals.values():
        plan = plan_words(proposal.plan, lang)
        lines.append(word("proposed", lang, id=proposal.id, plan=plan))
    for remedy in standing.asks():
        lines.append(word("asked", lang, id=remedy.id, plan=plan_words(remedy.plan, lang)))
    holding = [] if standing.has_ended else standing.in_force()
    for one in holding[-MOST_SHOWN:]:
        until = "" if one.until is None else word("until", lang, step=one.until)
        plan = plan_words((one.action,), lang)
        lines.append(word("in force", lang, id=one.remedy, plan=plan, until=until))
    if found.news.num_damaged:
        lines.append(word("damaged", lang, count=found.news.num_damaged))
    if found.news.num_unknown:
        lines.append(word("unknown", lang, count=found.news.num_unknown))
    return lines


def plain(found: Vitals) -> dict[str, Any]:
    """All of it as plain data; what is not known is None, and so is what is not finite."""
    standing, record = found.standing, found.record
    began = standing.began
    now = found.clock()
    checkpoint = found.checkpoint
    account = found.timesheet.account()
    numbers = {
        "loss": record.loss if record else None,
        "grad_norm": record.grad_norm if record else None,
        "lr": record.lr if record else None,
        "step_seconds": found.step_seconds,
        "tokens_per_second": found.tokens_per_second,
        "seconds_left": found.seconds_left,
        "kept_share": found.kept_share,
        "goodput": account.goodput,
        "silence_seconds": found.silence if began is not None else None,
    }
    return {
        "run": began.run if began is not None else None,
        "home": str(found.home),
        "state": found.state,
        "needs_somebody": needs_somebody(found),
        "step": standing.step,
        "steps": began.steps if began is not None else None,
        "attempt": standing.attempt,
        "mode": standing.mode,
        "judging": found.is_judging,
        "tokens": found.timesheet.tokens,
        **{name: _finite(value) for name, value in numbers.items()},
        "domains": {name: _finite(one) for name, one in found.domain_losses().items()},
        "panel_step": found.panel.step if found.panel else None,
        "panel": {name: _finite(one) for name, one in found.panel_losses().items()},
        "checkpoint": {
            "step": checkpoint.step if checkpoint else None,
            "age_seconds": now - found.checkpoint_at if found.checkpoint_at else None,
            "failed_in_a_row": found.failed_in_a_row,
        },
        "mirror": {
            "step": found.mirrored.step if found.mirrored else None,
            "age_seconds": now - found.mirrored_at if found.mirrored_at else None,
            "failed_in_a_row": found.mirror_failed_in_a_row,
            "reason": found.mirror_failed.reason if found.mirror_failed else None,
        },
        "copies": {
            "step": found.copied_step,
            "age_seconds": now - found.copied_at if found.copied_at else None,
        },
        "updates": found.timesheet.num_updates,
        "updates_skipped": found.timesheet.num_skipped,
        "updates_lost": found.timesheet.num_lost,
        "tokens_lost": account.tokens_lost,
        "time": dict(account.seconds),
        "restarts": found.num_restarts,
        "exits": dict(found.exits),
        "gave_up": found.gave_up.why if found.gave_up else None,
        "incidents": found.num_incidents,
        "open": [
            {
                "id": one.id,
                "onset": one.onset,
                "signals": list(one.signals),
                "cause": found.causes.get(one.id),
                "seen_by": found.acknowledged.get(one.id),
            }
            for one in standing.incidents.values()
        ],
        "proposals": list(standing.proposals),
        "asked": [one.id for one in standing.asks()],
        "in_force": sorted({one.remedy for one in standing.in_force()}),
        "outcomes": dict(found.results),
        "ranks": [
            {"rank": one.number, "phase": one.phase, "step": one.step, "seconds": one.seconds}
            for one in found.beats
        ],
        "alerts": {f"{channel} {state}": count for (channel, state), count in found.alerts.items()},
        "damaged_lines": found.news.num_damaged,
        "unknown_lines": found.news.num_unknown,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _pace(found: Vitals, lang: str) -> str:
    parts = []
    if found.step_seconds is not None:
        parts.append(word("per step", lang, time=span(found.step_seconds, lang)))
    if found.tokens_per_second is not None:
        parts.append(f"{word('per second', lang, tokens=found.tokens_per_second)}")
    if found.seconds_left:
        parts.append(word("left", lang, time=span(found.seconds_left, lang)))
    if not found.standing.has_ended:
        parts.append(word("last line", lang, time=span(found.silence, lang)))
    return word("and", lang).join(parts)


def _losses(found: Vitals) -> str:
    if found.record is None:
        return ""
    domains = list(found.domain_losses().items())
    parts = [f"{name} {loss:.4f}" for name, loss in domains[:MOST_SHOWN]]
    more = f" +{len(domains) - MOST_SHOWN}" if len(domains) > MOST_SHOWN else ""
    norm = found.record.grad_norm
    tail = f"  |g| {norm:.3g}" if norm is not None else ""
    rate = f"  lr {found.record.lr:.3g}" if found.record.lr is not None else ""
    return f"{found.record.loss:.4f}  {'  '.join(parts)}{more}{tail}{rate}"


def _panel(found: Vitals, lang: str) -> str:
    if found.panel is None:
        return ""
    losses = list(found.panel_losses().items())[:MOST_SHOWN]
    parts = "  ".join(f"{name} {loss:.4f}" for name, loss in losses)
    return f"{parts}  {word('of step', lang, step=found.panel.step)}"


def _checkpoint(found: Vitals, lang: str) -> str:
    step = found.checkpoint.step if found.checkpoint else None
    return _copy(found, step, found.checkpoint_at, found.failed_in_a_row, lang)


def _mirror(found: Vitals, lang: str) -> str:
    if found.mirrored is None and found.mirror_failed is None:
        return ""
    step = found.mirrored.step if found.mirrored else None
    return _copy(found, step, found.mirrored_at, found.mirror_failed_in_a_row, lang)


def _copy(
    found: Vitals, step: int | None, at: float | None, failed_in_a_row: int, lang: str
) -> str:
    """Of which step a durable copy is, how old, and how many have failed since."""
    failed = word("failed", lang, count=failed_in_a_row) if failed_in_a_row else ""
    if step is None or at is None:
        return f"{word('none yet', lang)}{failed}"
    ago = word("ago", lang, time=span(max(0.0, found.clock() - at), lang))
    return f"{word('and', lang).join((word('of step', lang, step=step), ago))}{failed}"


def _copies(found: Vitals, lang: str) -> str:
    """The state that each host's neighbour holds a copy of."""
    if found.copied_step is None or found.copied_at is None:
        return ""
    ago = word("ago", lang, time=span(max(0.0, found.clock() - found.copied_at), lang))
    return word("and", lang).join((word("of step", lang, step=found.copied_step), ago))


def _kept(found: Vitals, lang: str) -> str:
    if found.kept_share is None:
        return ""
    made = found.timesheet
    return word(
        "lost", lang, share=found.kept_share, made=made.num_updates, lost=made.num_lost,
        skipped=made.num_skipped,
    )  # fmt: skip


def _goodput(found: Vitals, lang: str) -> str:
    """The productive share, and the largest losses."""
    account = found.timesheet.account()
    if account.goodput is None:
        return ""
    losses = sorted(PARTS[1:], key=lambda part: -account.seconds[part])[:MOST_LOSSES]
    parts = [
        f"{part_words(part, lang)} {account.share(part):.1%}"
        for part in losses
        if account.share(part) >= LEAST_SHARE
    ]
    whole = word("spent", lang, share=account.goodput, time=span(account.wall, lang))
    stop, comma = ("；", "，") if lang == "zh" else ("; ", ", ")
    return stop.join([whole, comma.join(parts)]) if parts else whole


def _processes(found: Vitals, lang: str) -> str:
    died, hung = found.exits["died"], found.exits["hung"]
    if not (found.num_restarts or died or hung):
        return ""
    return word("restarts", lang, restarts=found.num_restarts, died=died, hung=hung)


def _ranks(found: Vitals, lang: str) -> str:
    parts = []
    for one in sorted(found.beats, key=lambda one: -(one.seconds or 0.0))[:MOST_SHOWN]:
        ago = word("gone", lang) if one.seconds is None else span(one.seconds, lang)
        phase = phrase(one.phase, lang)
        parts.append(
            f"{one.number} {phase}（{ago}）" if lang == "zh" else f"{one.number} {phase} ({ago})"
        )
    more = f" +{len(found.beats) - MOST_SHOWN}" if len(found.beats) > MOST_SHOWN else ""
    return "" if found.standing.has_ended else word("and", lang).join(parts) + more


def _alerts(found: Vitals) -> str:
    return ", ".join(
        f"{channel}: {count} {state}" for (channel, state), count in sorted(found.alerts.items())
    )


def _incident(found: Vitals, name: str, lang: str) -> str:
    incident = found.standing.incidents[name]
    diagnosis = found.standing.diagnoses.get(name)
    if diagnosis is None:
        what = word("not examined", lang)
    else:
        top = diagnosis.causes[0]
        what = word("sure", lang, cause=cause_words(top, lang), share=top.confidence)
    seen = found.acknowledged.get(name)
    tail = word("seen by", lang, who=seen) if seen else ""
    return word("open", lang, id=name, step=incident.onset, what=what) + tail
