"""What a message says beside the sentences of `wording.py`, English and Chinese."""

from collections.abc import Mapping, Sequence
from typing import Literal

from steadytrain.events import Trend
from steadytrain.phrases import phrase
from steadytrain.sayings import translated

Lang = Literal["en", "zh"]

_WORDS: Mapping[str, tuple[str, str]] = {
    "info": ("info", "通知"),
    "warning": ("warning", "警告"),
    "critical": ("critical", "严重"),
    "recovered": ("recovered", "已恢复"),
    "over": ("over", "已结束"),
    "began": ("the run begins: {parameters:,} parameters, {world} ranks, {steps} steps",
              "训练开始：{parameters:,} 个参数，{world} 个 rank，共 {steps} 步"),
    "ended": ("the run has ended at step {step}{losses}", "训练在第 {step} 步结束{losses}"),
    "run": ("the run", "训练"),
    "no steps": ("?", "未知"),
    "waits": ("it waits for a person: steadytrain remedy {home} accept {id} (or refuse {id})",
              "等待人工决定：steadytrain remedy {home} accept {id}（或 refuse {id}）"),
    "observed": ("the mode is 'observe', so nothing is done; {id} would be: {plan}",
                 "当前模式只看不做；否则 {id} 会：{plan}"),
    "asks": ("a person must decide: {question}", "需要人工决定：{question}"),
    "checkpoint failed": ("{count} checkpoints in a row could not be saved: {reason}",
                          "连续 {count} 次未能保存检查点：{reason}"),
    "checkpoints": ("checkpoints fail", "检查点保存失败"),
    "checkpoint again": ("step {step}: a checkpoint is saved and verified again",
                         "第 {step} 步：检查点又能保存并通过校验"),
    "mirror": ("the mirror fails", "异地副本写入失败"),
    "mirror again": ("step {step}: the mirror has everything again", "第 {step} 步：异地副本已补齐"),
    "no checkpoint": ("for {time} no checkpoint was saved; the last is of step {step}",
                      "已有 {time}没有保存检查点；最后一个在第 {step} 步"),
    "no checkpoint yet": ("for {time} the run goes on without any checkpoint",
                          "训练已进行 {time}，还没有任何检查点"),
    "refused": ("a checkpoint was refused", "检查点被拒绝"),
    "restore refused": ("a restored state was refused", "恢复的状态被拒绝"),
    "process": ("a process died", "进程退出"),
    "process hung": ("a process hung", "进程卡死"),
    "resumed": ("step {step}: the run goes on, resumed from {origin}", "第 {step} 步：训练继续（恢复自：{origin}）"),
    "gave up": ("the run is down for good: nobody starts it again", "训练已停止，不会再自动启动"),
    "vanished": ("the supervisor (process {pid}) is gone, and the journal does not say why; "
                 "nobody will start the run again",
                 "看护进程（{pid}）已消失，日志里没有写明原因；训练不会再自动启动"),
    "supervisor": ("the supervisor is gone", "看护进程消失"),
    "judging": ("the run is unguarded", "训练失去看护"),
    "judging again": ("step {step}: the judge works again", "第 {step} 步：判断器恢复"),
    "silent": ("nothing has moved for {time}, after step {step}{where}; "
               "up to {usual} was usual",
               "已有 {time}没有进展，停在第 {step} 步之后{where}；平常最多 {usual}"),
    "where": (", in {phase} (rank {rank})", "，停在{phase}阶段（rank {rank}）"),
    "silence": ("the run does not move", "训练没有进展"),
    "moves": ("step {step}: it moves again, after {time}", "第 {step} 步：停滞 {time}后恢复"),
    "escalated": ("for {time} nobody has acknowledged it: steadytrain tell {home} "
                  "--acknowledge {thread}",
                  "已有 {time}无人确认：steadytrain tell {home} --acknowledge {thread}"),
    "acknowledged": ("{who} has seen it{why}", "{who} 已确认{why}"),
    "advice": ("remark", "提示"),
    "trend explained": ("step {step}: the panel moves, and it was not planned: {pattern} ({domains})",
                        "第 {step} 步：固定样本的变化不在计划之内：{pattern}（{domains}）"),
    "trend came true": ("step {step}: {pattern} ({domains}): what was expected came true",
                        "第 {step} 步：{pattern}（{domains}）：预期已应验"),
    "trend did not": ("step {step}: {pattern} ({domains}): what was expected did not happen",
                      "第 {step} 步：{pattern}（{domains}）：预期没有发生"),
    "trend gave way": ("step {step}: {pattern} ({domains}): another explanation is better now",
                       "第 {step} 步：{pattern}（{domains}）：已有更好的解释"),
    "move": ("{domain}: {before:.4f} -> {now:.4f} nats since step {since} ({change:+.4f}, 95 %: "
             "{low:+.4f} to {high:+.4f})",
             "{domain}：自第 {since} 步 {before:.4f} -> {now:.4f}（{change:+.4f}，95% 区间 {low:+.4f} 至 {high:+.4f}）"),
    "expected": ("expected next: {text}", "接下来预期：{text}"),
    "many": ("{count} of them", "共 {count} 件"),
    "more": ("... and {count} more lines", "……另有 {count} 行"),
    "board": ("board", "看板"),
    "again": ("(this may be the second time: the sender was stopped while it sent)",
              "（可能是第二次收到：发送途中曾被中断）"),
    "lost": ("{count} earlier messages could not be delivered; the last: {title}",
             "此前有 {count} 条消息未能送达，最后一条：{title}"),
    "test title": ("a test", "测试"),
    "test": ("This is a test of steadytrain tell. If you can read it, alerts of {run} reach you here.",
             "这是 steadytrain tell 的测试消息。能看到它，说明 {run} 的告警可以送到这里。"),
    "first seen": ("open since before this channel was told of the run", "在此渠道开始接收之前就已开启"),
}  # fmt: skip


def words(name: str, lang: Lang, **values: object) -> str:
    """A phrase of a message in a language, with its values."""
    found = _WORDS[name][lang == "zh"]
    return found.format(**values) if values else found


def join(parts: list[str], lang: Lang) -> str:
    return ("；" if lang == "zh" else "; ").join(parts)


def list_of(names: Sequence[str], lang: Lang) -> str:
    return ("、" if lang == "zh" else ", ").join(names)


def aside(text: str, lang: Lang) -> str:
    return f"（{text}）" if lang == "zh" else f" ({text})"


def reason(text: str, lang: Lang) -> str:
    """What follows after a statement, if anything."""
    if not text:
        return ""
    return f"：{text}" if lang == "zh" else f": {text}"


def signals(names: tuple[str, ...], directions: tuple[str, ...], lang: Lang) -> str:
    """The first of an incident's signals, and how many more."""
    if not names:
        return ""
    gap = "" if lang == "zh" else " "
    way = phrase(directions[0], lang) if directions else ""
    first = f"{phrase(names[0], lang)}{gap}{way}"
    return f"{first} +{len(names) - 1}" if len(names) > 1 else first


def trend(event: Trend, lang: Lang) -> list[str]:
    """What a trend says, in some lines."""
    event = translated(event, lang)
    about = {
        "step": event.step,
        "pattern": phrase(event.pattern, lang),
        "domains": list_of(event.domains, lang),
    }
    lines = [words(f"trend {event.state}", lang, **about)]
    if event.state == "explained":
        named = [one for one in event.moves if one.domain in event.domains]
        lines += [
            words(
                "move", lang, domain=one.domain, since=one.since, before=one.before, now=one.now,
                change=one.change, low=one.low, high=one.high,
            )
            for one in named[:4]
        ]  # fmt: skip
        lines += list(event.evidence[:3])
        if event.expected:
            lines.append(words("expected", lang, text=event.expected))
    return lines
