"""Explanations of the panel's movements in words, with what became of them, in two languages."""

from collections.abc import Iterable
from dataclasses import dataclass

from steadytrain.events import Event, PanelDrawn, PanelMove, Trend
from steadytrain.phrases import phrase
from steadytrain.sayings import translated


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """One explanation: what was said first, and its later state where there is one."""

    said: Trend
    ended: Trend | None = None

    @property
    def state(self) -> str:
        return self.ended.state if self.ended is not None else self.said.state


def stories(events: Iterable[Event]) -> tuple[Story, ...]:
    """The explanations of a run in their order."""
    found: dict[str, Story] = {}
    for event in events:
        if not isinstance(event, Trend):
            continue
        if event.state == "explained":
            found[event.id] = Story(said=event)
        elif event.id in found:
            found[event.id] = Story(said=found[event.id].said, ended=event)
    return tuple(found.values())


def story_lines(story: Story, *, lang: str = "en") -> list[str]:
    """A story in lines: what, evidence for and against, what is expected, what became of it."""
    said = translated(story.said, lang)
    zh = lang == "zh"
    lines = [trend_words(said, lang=lang)]
    lines += [f"+ {one}" for one in said.evidence]
    lines += [f"- {one}" for one in said.against]
    if said.refuted_by:
        lines.append(
            f"若出现以下情况则不成立：{said.refuted_by}" if zh else f"refuted by: {said.refuted_by}"
        )
    if story.ended is not None:
        lines.append(trend_words(story.ended, lang=lang))
    elif said.due is not None:
        lines.append(f"第 {said.due} 步之前见分晓" if zh else f"open until step {said.due}")
    return lines


def trend_words(trend: Trend, *, lang: str = "en") -> str:
    """One line about an explanation or its later state."""
    return _trend_zh(translated(trend, lang)) if lang == "zh" else _trend(trend)


def drawn_words(drawn: PanelDrawn, domains: tuple[str, ...], *, lang: str = "en") -> str:
    """One line about a panel that is in use from here on."""
    drawn = translated(drawn, lang)
    names = domains or tuple(str(at) for at in range(len(drawn.lengths)))
    counts = ("、" if lang == "zh" else ", ").join(
        f"{name} {len(some)}" for name, some in zip(names, drawn.lengths, strict=False)
    )
    if lang == "zh":
        notes = "".join(f"；{note}" for note in drawn.notes)
        if drawn.version > 1:
            return (
                f"第 {drawn.step} 步：固定样本换成第 {drawn.version} 版（{drawn.why}），"
                f"不再与此前的测量比较；各领域序列数：{counts}{notes}"
            )
        return f"第 {drawn.step} 步：固定样本的序列数：{counts}{notes}"
    notes = "".join(f"; {note}" for note in drawn.notes)
    if drawn.version > 1:
        return (
            f"step {drawn.step}: the panel is replaced ({drawn.why}); version {drawn.version} is "
            f"compared with nothing before it: {counts} sequences{notes}"
        )
    return f"step {drawn.step}: the panel holds {counts} sequences{notes}"


def _trend(trend: Trend) -> str:
    about = ", ".join(trend.domains)
    if trend.state != "explained":
        why = f": {trend.evidence[0]}" if trend.evidence else ""
        return f"step {trend.step}: {trend.id}, {trend.pattern} ({about}), {trend.state}{why}"
    kind = "expected" if trend.is_expected else "look at it"
    moved = "; ".join(_move(one) for one in _own(trend))
    then = f"; {trend.expected}" if trend.expected else ""
    return f"step {trend.step}: {trend.id}: {trend.pattern} ({about}; {kind}): {moved}{then}"


def _trend_zh(trend: Trend) -> str:
    about = "、".join(trend.domains)
    name, state = phrase(trend.pattern, "zh"), phrase(trend.state, "zh")
    if trend.state != "explained":
        why = f"：{trend.evidence[0]}" if trend.evidence else ""
        return f"第 {trend.step} 步：{trend.id}，{name}（{about}）{state}{why}"
    kind = "在预料之中" if trend.is_expected else "需要查看"
    moved = "；".join(_move_zh(one) for one in _own(trend))
    then = f"；预期：{trend.expected}" if trend.expected else ""
    return f"第 {trend.step} 步：{trend.id}：{name}（{about}；{kind}）：{moved}{then}"


def _own(trend: Trend) -> list[PanelMove]:
    return [one for one in trend.moves if one.domain in trend.domains]


def _move(one: PanelMove) -> str:
    return (
        f"{one.domain} {one.change:+.3f} nats ({one.low:+.3f} to {one.high:+.3f}) against step "
        f"{one.since}"
    )


def _move_zh(one: PanelMove) -> str:
    return (
        f"{one.domain} 比第 {one.since} 步变化 {one.change:+.3f} nats"
        f"（{one.low:+.3f} 至 {one.high:+.3f}）"
    )
