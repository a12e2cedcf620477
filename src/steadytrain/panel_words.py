"""What a panel's numbers allow to say, and what not, in plain words, English and Chinese."""

import math
from collections.abc import Sequence

from steadytrain.events import PanelDrawn, PanelRecord
from steadytrain.perplexity import Looks, Reading, View
from steadytrain.phrases import phrase
from steadytrain.sayings import say, translated
from steadytrain.stats.paired import CLOSE, FLOOR_SEQUENCES, Change, Interval
from steadytrain.stories import story_lines

WIDEST = 12
"""Sentences of one kind beyond which the rest is counted."""

HEADS = {
    "en": {
        "domain": "domain", "sequences": "n", "loss": "loss", "perplexity": "perplexity",
        "interval": "95 % interval", "bits": "bits/byte", "training": "training",
        "macro": "mean of its parts", "since": "since step {step}", "before": "since step {step}, the look before",
        "finds": "would find", "jitter": "jitter", "looks": "perplexity by step", "gap": "-",
        "why": "because of", "not told": "not told apart", "to": " to ",
    },
    "zh": {
        "domain": "领域", "sequences": "条数", "loss": "损失", "perplexity": "困惑度",
        "interval": "95 % 区间", "bits": "比特/字节", "training": "训练损失",
        "macro": "各部分等权", "since": "较第 {step} 步", "before": "较第 {step} 步（上一次测量）",
        "finds": "能看清", "jitter": "抖动", "looks": "各步的困惑度", "gap": "-",
        "why": "缘由", "not told": "看不出差别", "to": " 至 ",
    },
}  # fmt: skip


def percent(nats: float) -> str:
    """A difference of losses as a change of perplexity: `+4.9 %`."""
    if not math.isfinite(nats):
        return "?"
    share = 100 * math.expm1(min(nats, 700.0))
    return f"{share:+.1f} %" if abs(share) < 1000 else f"x{math.exp(min(nats, 700.0)):.3g}"


def change_words(moved: Change | None, lang: str = "en") -> str:
    """`-3.1 % (-4.0 to -2.2)`: a paired change of perplexity with its 95 % interval."""
    if moved is None:
        return ""
    ends = HEADS[lang]["to"].join(percent(one)[:-2] for one in (moved.low, moved.high))
    return f"{percent(moved.mean)}（{ends}）" if lang == "zh" else f"{percent(moved.mean)} ({ends})"


def interval_words(found: Interval, lang: str = "en") -> str:
    """`3.31 to 3.57`; a question mark where nothing is known."""
    if not math.isfinite(found.half):
        return "?"
    ends = (found.perplexity_low, found.perplexity_high)
    return HEADS[lang]["to"].join(figure(one, lang) for one in ends)


def figure(value: float, lang: str = "en") -> str:
    """A perplexity in four digits or so."""
    if not math.isfinite(value):
        return phrase("not finite", lang)
    return f"{value:.3f}" if value < 100 else f"{value:.4g}" if value < 1e5 else f"{value:.2e}"


def weak_words(name: str, found: Interval, lang: str) -> str | None:
    """What so few sequences tell and how many would do; None where they are enough."""
    if not found.is_too_weak:
        return None
    needed, count = found.needed(), found.sequences
    if needed is None:
        return (
            f"{name}：{count} 条序列无法给出区间；至少需要 30 条，通常取 200 条。"
            if lang == "zh"
            else f"{name}: {count} sequence{'s' if count > 1 else ''} cannot give an interval; 30 "
            "are the least, 200 are usual."
        )
    if found.tells <= CLOSE:
        return (
            f"{name}：{count} 条序列太少，其离散程度不可信；至少需要 {FLOOR_SEQUENCES} 条。"
            if lang == "zh"
            else f"{name}: {count} sequences are too few to trust their spread; {FLOOR_SEQUENCES} "
            "are the least."
        )
    half = 100 * found.tells
    if lang == "zh":
        return f"{name}：{count} 条序列只能看清 ±{half:.1f} %；要看清 ±{100 * CLOSE:.0f} % 需要 {needed} 条。"
    return f"{name}: {count} sequences tell +-{half:.1f} %; {needed} are needed for +-{100 * CLOSE:.0f} %."


def power_words(name: str, moved: Change, step: int, lang: str) -> str:
    """Which change since a step would have been found."""
    finds, count = 100 * math.expm1(min(moved.detectable, 700.0)), moved.sequences
    if lang == "zh":
        return f"{name}：自第 {step} 步以来，{finds:.1f} % 的变化五次中能发现四次（配对，{count} 条）。"
    return (
        f"{name}: a change of {finds:.1f} % since step {step} would have been found in four cases "
        f"of five ({count} sequences, paired)."
    )


def limit_words(names: Sequence[str], moves: Sequence[Change], lang: str) -> str:
    """That more sequences would not help: the model jumps from look to look."""
    sizes = sorted({f"{100 * math.expm1(one.jitter):.1f}" for one in moves}, key=float)
    ends = list(dict.fromkeys((sizes[0], sizes[-1])))
    who = _listed(names, lang)
    if lang == "zh":
        size = " 到 ".join(ends)
        return (
            f"{who}：增加序列也看不清更小的变化：两次测量之间，模型本身就会抖动 {size} %，这才是瓶颈；"
            "可对几次测量取平均，或用滑动平均的权重。"
        )
    size = " to ".join(ends)
    return (
        f"{who}: more sequences will not tell changes better, since the model itself jumps by "
        f"{size} % from look to look (jitter), and that is the limit. Average several looks, or "
        "look at averaged weights."
    )


def remarks(view: View, lang: str) -> tuple[str, ...]:
    """All that must be said beside the numbers: gaps, what is too weak, what cannot be compared."""
    found = [_rebased(one, lang) for one in view.looks.drawn if one.version > 1]
    found += _state_words(view, lang)
    leaves = [one for one in view.readings if one.node.is_leaf and one.interval is not None]
    weak = [weak_words(one.node.name, one.interval, lang) for one in leaves if one.interval]
    found += _first([one for one in weak if one], lang)
    if view.before is not None:
        limited = [(one.node.name, one.last) for one in leaves if one.knows_jitter and one.last]
        limited = [(name, moved) for name, moved in limited if moved.is_limited_by_jitter]
        if limited:
            names, moves = zip(*limited, strict=True)
            found.append(limit_words(names, moves, lang))
        if not any(one.knows_jitter for one in leaves):
            found.append(_unknown_jitter(lang))
    drawn = view.looks.panel(view.record.version)
    found += translated(drawn, lang).notes if drawn else ()
    if view.looks.given_up:
        count = view.looks.given_up
        found.append(
            f"回滚放弃的 {count} 次测量未计入。"
            if lang == "zh"
            else f"{count} look{'s' if count > 1 else ''} that a rollback gave up "
            f"{'are' if count > 1 else 'is'} left out."
        )
    return tuple(found)


def title_words(view: View, lang: str) -> str:
    """What is shown: of which run, at which step, how much of it."""
    record, name = view.record, view.looks.run
    count = sum(map(len, record.losses))
    why = say(record.why, lang)
    if not view.looks.records:  # a model, and no run
        return f"{name}：{count} 条序列" if lang == "zh" else f"{name}: {count} sequences"
    if lang == "zh":
        return f"{name}：第 {record.step} 步的固定样本（{why}），{count} 条序列"
    return f"{name}: the fixed panel at step {record.step} ({why}), {count} sequences"


def drawn_words(drawn: PanelDrawn, lang: str) -> str:
    """How a panel was drawn."""
    zh = lang == "zh"
    parts = [f"{'样本' if zh else 'panel'} {drawn.digest[:12]}"]
    if drawn.version > 1:
        parts.append(f"第 {drawn.version} 版" if zh else f"version {drawn.version}")
    if drawn.tokenizer:
        parts.append(f"{'分词器' if zh else 'tokenizer'} {drawn.tokenizer}")
    if drawn.window:
        parts.append(f"至多 {drawn.window} 词元" if zh else f"{drawn.window} tokens at most")
    if drawn.seed is not None:
        parts.append(f"{'种子' if zh else 'seed'} {drawn.seed}")
    return ("，" if zh else ", ").join(parts)


def same_words(looks: Looks, record: PanelRecord, lang: str) -> tuple[str, ...]:
    """How a measured checkpoint compares with what the run itself saw at that step."""
    own = [one for one in looks.version(record.version) if one.step == record.step]
    if not own:
        return ()
    pairs = zip(own[-1].losses, record.losses, strict=True)
    apart = max(
        (abs(a - b) for old, new in pairs for a, b in zip(old, new, strict=True)), default=0.0
    )
    if apart == 0:
        return (
            "训练中同一步也测过：每条序列的损失逐位相同。"
            if lang == "zh"
            else "The run itself looked at this step: the loss of every sequence is the same, bit for bit.",
        )
    if lang == "zh":
        return (f"训练中同一步也测过：单条序列的损失至多相差 {apart:.1g} nats。",)
    return (
        f"The run itself looked at this step: the loss of no sequence differs by more than "
        f"{apart:.1g} nats.",
    )


def story_words(found: Looks, lang: str) -> tuple[str, ...]:
    """Each explanation of a movement with its evidence, a line each; what shares are worth."""
    lines = []
    for story in found.stories:
        first, *more = story_lines(story, lang=lang)
        lines += [first, *(f"    {one}" for one in more)]
    return (*lines, *([say(found.advice, lang)] if found.advice else []))


def _state_words(view: View, lang: str) -> list[str]:
    found = []
    for one in view.readings:
        if one.state == "absent":
            found.append(_absent(one, lang))
        elif one.state == "not finite" and one.node.is_leaf and one.interval is not None:
            count, all_ = one.unfit, one.interval.sequences
            found.append(
                f"{one.node.name}：{all_} 条序列中有 {count} 条的损失不是有限值，故没有困惑度。"
                if lang == "zh"
                else f"{one.node.name}: the loss of {count} of {all_} sequences is not finite, so "
                "there is no perplexity."
            )
    return found


def _absent(one: Reading, lang: str) -> str:
    if lang == "zh":
        return f"{one.node.name} 在固定样本中没有序列，对它一无所知（不是零）。"
    return f"{one.node.name} has no sequences in the panel, so nothing is known of it; that is no zero."


def _rebased(drawn: PanelDrawn, lang: str) -> str:
    if lang == "zh":
        why = f"（{drawn.why}）" if drawn.why else ""
        return (
            f"固定样本在第 {drawn.step} 步换成第 {drawn.version} 版{why}；此前的测量不能与之比较。"
        )
    why = f" ({drawn.why})" if drawn.why else ""
    return (
        f"The panel was replaced after step {drawn.step} by version {drawn.version}{why}; looks at "
        "another version are not compared with it."
    )


def _unknown_jitter(lang: str) -> str:
    if lang == "zh":
        return "测量不足 8 次，抖动尚不可知，暂按 0.003 nats 计；变化的区间偏窄。"
    return (
        "There are fewer than 8 looks, so the jitter is not known yet and 0.003 nats are assumed: "
        "intervals of changes are rather too narrow."
    )


def _listed(names: Sequence[str], lang: str) -> str:
    shown = ("、" if lang == "zh" else ", ").join(names[:WIDEST])
    rest = len(names) - WIDEST
    if rest <= 0:
        return shown
    return f"{shown}等 {len(names)} 个领域" if lang == "zh" else f"{shown} and {rest} more"


def _first(sentences: list[str], lang: str) -> list[str]:
    if len(sentences) <= WIDEST:
        return sentences
    rest = len(sentences) - WIDEST
    more = f"……还有 {rest} 个领域如此。" if lang == "zh" else f"... and {rest} more like these."
    return [*sentences[:WIDEST], more]
