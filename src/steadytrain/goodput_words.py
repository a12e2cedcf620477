"""The account of a run's time in words, English and Chinese."""

import math

from steadytrain.cadence import Cadence, cadence
from steadytrain.goodput import Account
from steadytrain.spans import span
from steadytrain.stints import PARTS, Part

PART_WORDS: dict[Part, tuple[str, str]] = {
    "productive": ("productive", "有效训练"),
    "repeated": ("undone and made again", "作废重做"),
    "held": ("updates held back", "被拦下的更新"),
    "checkpoints": ("held up by checkpoints", "检查点造成的停顿"),
    "panel": ("looks at the panel", "测量固定样本"),
    "examination": ("evidence, trials, rollbacks", "取证、试验、回滚"),
    "stalls": ("held up, cause unknown", "停顿，原因不明"),
    "detection": ("until a death or hang was noticed", "发现退出或卡死所需"),
    "startup": ("starting up", "启动"),
    "waits": ("waits before a restart", "重启前的等待"),
    "idle": ("not running, or unknown", "未运行或不详"),
}

CLOCK_DIFFERS = 60.0
"""Seconds between the account and the wall clock from which on it is said. Source: guess."""


def part_words(part: Part, lang: str) -> str:
    return PART_WORDS[part][lang == "zh"]


def rows(account: Account, lang: str) -> list[tuple[str, str, str]]:
    """(part, time, share) of what took any time, and all of it."""
    found = [
        (part_words(part, lang), span(account.seconds[part], lang), f"{account.share(part):.1%}")
        for part in PARTS
        if part == "productive" or account.seconds[part] > 0
    ]
    return [*found, ("合计" if lang == "zh" else "all", span(account.wall, lang), "100.0%")]


def remarks(account: Account, lang: str) -> list[str]:
    """What the numbers mean: work undone, clocks that jumped, how often to save."""
    zh = lang == "zh"
    found = []
    if account.updates_lost:
        share = account.tokens_lost / max(1, account.tokens + account.tokens_lost)
        found.append(
            f"重启或回滚作废了 {account.updates_lost:,} 次更新、{account.tokens_lost:,} 个词元"
            f"（占训练量的 {share:.1%}）。"
            if zh
            else f"Restarts and rollbacks undid {account.updates_lost:,} updates on "
            f"{account.tokens_lost:,} tokens ({share:.1%} of what was trained on)."
        )
    jump = account.clock - account.wall
    if abs(jump) > CLOCK_DIFFERS:
        shown = span(abs(jump), lang)
        found.append(
            f"日志首末两行的墙钟时间比上表{'多' if jump > 0 else '少'} {shown}：主机时钟被调整过。"
            if zh
            else f"By the wall clock, first to last line, it was {shown} "
            f"{'more' if jump > 0 else 'less'}: the host's clock was set in between."
        )
    advised = cadence(account)
    return [*found, *(cadence_words(advised, lang) if advised is not None else [])]


def cadence_words(found: Cadence, lang: str) -> list[str]:
    """How often to save, and how sure that is."""
    zh = lang == "zh"
    low, high = span(found.low, lang), span(found.high, lang) if math.isfinite(found.high) else ""
    if found.between_failures is None:
        least = span(found.best_low, lang)
        return [
            f"未发生故障：平均故障间隔很可能大于 {low}（95 %）；检查点间隔 {least} 以上即可，"
            "更短没有必要。"
            if zh
            else f"No failure so far: the mean time between two is probably more than {low} (95 %), "
            f"and checkpoints more often than every {least} would not pay."
        ]
    mean = span(found.between_failures, lang)
    assert found.best is not None
    best = span(found.best, lang)
    ends = (span(found.best_low, lang), span(found.best_high, lang))
    said = [
        f"{found.failures} 次故障：平均故障间隔 {mean}（95 % 区间：{low} 到 {high}）。"
        f"每个检查点使训练停顿 {_short(found.cost, lang)}，最佳间隔为 {best}（{ends[0]} 到 {ends[1]}）"
        + ("，受写盘时间限制。" if found.best <= found.floor else "。")
        if zh
        else f"{found.failures} failure{'s' if found.failures > 1 else ''}: the mean time between "
        f"two is {mean} (95 % interval: {low} to {high}). A checkpoint holds training up for "
        f"{_short(found.cost, lang)}, so the best interval is {best} ({ends[0]} to {ends[1]})"
        + (": as often as one can be written." if found.best <= found.floor else ".")
    ]
    if found.present is None or found.lost is None or found.lost_best is None:
        return said
    present = span(found.present, lang)
    if not found.is_worthwhile:
        verdict = (
            f"目前的间隔 {present} 与最佳间隔几乎没有差别。"
            if zh
            else f"The present one, {present}, costs hardly more than the best."
        )
    else:
        verdict = (
            f"目前的间隔 {present} 预计损失 {found.lost:.1%} 的时间，最佳间隔只损失 "
            f"{found.lost_best:.1%}（按磁盘检查点恢复计算；从共享内存恢复损失更小）。"
            if zh
            else f"The present one, {present}, costs {found.lost:.1%} of the time, the best one "
            f"{found.lost_best:.1%} (if restarts begin from the disk; from shared memory they lose "
            "less)."
        )
    return [*said, verdict]


def _short(seconds: float, lang: str) -> str:
    """Below a tenth of a second in milliseconds."""
    if seconds >= 0.1:
        return span(seconds, lang)
    return f"{1000 * seconds:.1f} {'毫秒' if lang == 'zh' else 'ms'}"
