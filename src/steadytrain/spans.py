"""Durations as people say them, English and Chinese."""

_UNITS = {"en": (" d", " h", " min", " s"), "zh": (" 天", " 小时", " 分钟", " 秒")}


def span(seconds: float, lang: str = "en") -> str:
    """The two largest units of a duration; of ten minutes and more no seconds.

    >>> [span(one) for one in (0.25, 42, 61, 5400, 200_000)]
    ['0.2 s', '42 s', '1 min 1 s', '1 h 30 min', '2 d 8 h']
    >>> span(5400, "zh")
    '1 小时 30 分钟'
    """
    days, hours, minutes, moments = _UNITS[lang]
    if seconds < 10:
        return f"{seconds:.1f}{moments}"
    if seconds < 60:
        return f"{seconds:.0f}{moments}"
    if seconds < 599.5:
        whole = round(seconds)
        left = f" {whole % 60}{moments}" if whole % 60 else ""
        return f"{whole // 60}{minutes}{left}"
    total = round(seconds / 60)
    if total < 60:
        return f"{total}{minutes}"
    if total < 24 * 60:
        left = f" {total % 60}{minutes}" if total % 60 else ""
        return f"{total // 60}{hours}{left}"
    whole = round(total / 60)
    left = f" {whole % 24}{hours}" if whole % 24 else ""
    return f"{whole // 24}{days}{left}"
