"""Draw a panel from documents: stratified by domain, one window of each document."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b

from steadytrain.errors import PanelError, SettingError
from steadytrain.panels import windows
from steadytrain.panels.fixed import FLOOR, PER_DOMAIN, FixedPanel, PanelSequence
from steadytrain.panels.windows import Given

DISTINCT = 0.7
"""Sequences from fewer documents than so many for each are not independent. Source: guess."""


def draw(
    documents: Iterable[Given],
    *,
    domains: Sequence[str],
    seed: int,
    encode: Callable[[str], Sequence[int]],
    window: int,
    tokenizer: str,
    per_domain: int | None = None,
    total: int | None = None,
    floor: int = FLOOR,
    shares: Mapping[str, float] | None = None,
    begin: int | None = None,
    shortest: int | None = None,
) -> FixedPanel:
    """Draw a panel, stratified by domain: one window of each document, at random.

    Which documents and where in them follows from the seed and their text alone, so the same texts
    in another order, or on another machine, give the same panel. Texts that are nearly the same are
    drawn once. Where a domain has too few documents, further windows of long ones are taken, and a
    note says so.

    Args:
        documents: of any reader of `corpora/`, or (domain, text) or (domain, text, source). A
            document of "zh/news" counts for "zh" where only that is asked for.
        encode: text -> token ids, without special tokens.
        window: most tokens that a sequence predicts.
        tokenizer: its name, see `named`.
        per_domain: sequences of each domain; 200 if neither this nor `total` is given.
        total: sequences in all, divided by `shares`, with `floor` for each domain at the least.
        shares: of the domains in training, any positive scale; None: by their bytes of text.
        begin: token id that goes before each window, as training has it; None: the first token of a
            window is not predicted.
        shortest: fewer predicted tokens are no sequence; a quarter of the window, at most 32, if
            None.

    Raises:
        SettingError: a size or a share is impossible.
        PanelError: a domain has no text that is long enough.

    Source: proportional allocation with a floor, Cochran 1977, chapter 5; the floor is what strata
    are for: here they narrow the interval of the whole by 6 % only (docs/panel.md).
    """
    names = tuple(domains)
    if per_domain is None and total is None:
        per_domain = PER_DOMAIN
    _refuse_sizes(names, window, per_domain, total, floor)
    least = min(32, max(1, window // 4)) if shortest is None else shortest
    most = per_domain if total is None else total
    assert most is not None
    pools = windows.gather(
        documents, domains=names, seed=seed, encode=encode, keep=2 * most + 16, shortest=least
    )
    for name, pool in pools.items():
        if not pool.candidates:
            raise PanelError(
                f"domain {name!r} has no text of {least} tokens or more ({pool.documents} were "
                "given), so it would have no perplexity. Give it text, or leave it out of domains."
            )
    sizes = dict.fromkeys(names, most)
    if total is not None:
        weights = shares or {name: float(pool.bytes) for name, pool in pools.items()}
        sizes = windows.divide(total, weights, names, floor=floor)
    sequences: list[PanelSequence] = []
    notes: list[str] = []
    for domain, name in enumerate(names):
        cut = windows.cut(
            pools[name], sizes[name], encode=encode, window=window, begin=begin, shortest=least
        )
        sequences += (
            PanelSequence(
                domain=domain, tokens=one.tokens, num_bytes=one.num_bytes, source=one.source,
                text=one.text, document=one.document,
            )
            for one in cut
        )  # fmt: skip
        notes += weaknesses(name, sizes[name], [one.document for one in cut])
    lost = max(pool.lost for pool in pools.values())
    if lost:
        notes.append(f"{lost} documents or parts of files could not be read.")
    return FixedPanel(
        sequences=tuple(sequences), domains=names, seed=seed, window=window, tokenizer=tokenizer,
        notes=tuple(notes),
    )  # fmt: skip


def weaknesses(name: str, wanted: int, documents: Sequence[str]) -> list[str]:
    """What to say of a domain's sequences, given the document of each."""
    count, distinct = len(documents), len(set(documents))
    found = []
    if count < wanted:
        found.append(
            f"The panel of {name} has {count} sequences, not {wanted}: there is no more text that "
            "differs. Its perplexity is less sure."
        )
    if count < FLOOR:
        found.append(
            f"{count} sequences of {name} are too few for an interval: {FLOOR} are the least."
        )
    if distinct < DISTINCT * count:
        found.append(
            f"The {count} sequences of {name} come from {distinct} documents, so they are not "
            "independent, and intervals of it are too narrow."
        )
    return found


def named(name: str, vocabulary: Mapping[str, int]) -> str:
    """A tokenizer's name with the digest of its vocabulary: equal names may differ in tokens.

    >>> named("bytes", {"a": 0}) == named("bytes", {"a": 1})
    False
    """
    entries = repr(sorted(vocabulary.items())).encode()
    return f"{name}:{blake2b(entries, digest_size=8).hexdigest()}"


def _refuse_sizes(
    domains: tuple[str, ...], window: int, per_domain: int | None, total: int | None, floor: int
) -> None:
    if not domains or len(set(domains)) < len(domains) or window < 2:
        raise SettingError(
            f"domains={domains}, window={window} leave nothing to draw. Write each domain once, "
            "and a window of 2 tokens or more (the training's context is usual)."
        )
    if (per_domain is None) == (total is None):
        raise SettingError(
            f"per_domain={per_domain} and total={total} both say how many. Write one of them."
        )
    if per_domain is not None and per_domain < 1:
        raise SettingError(f"per_domain={per_domain} draws nothing. Write per_domain=200.")
    if total is not None and (floor < 1 or total < floor * len(domains)):
        raise SettingError(
            f"total={total} does not give each of {len(domains)} domains the floor of {floor}. "
            f"Write total={max(1, floor) * len(domains)} or more, or a lower floor."
        )
