"""How wide a text is on a terminal, where a Chinese character takes two columns."""

import unicodedata


def width(text: str) -> int:
    """Columns that it takes.

    >>> width("loss"), width("\\u635f\\u5931")
    (4, 4)
    """
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def padded(text: str, columns: int) -> str:
    """With spaces behind it up to so many columns.

    >>> padded("loss", 6), padded("\\u635f\\u5931", 6)
    ('loss  ', '\\u635f\\u5931  ')
    """
    return text + " " * max(0, columns - width(text))
