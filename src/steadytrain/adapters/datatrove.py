"""A block for datatrove's pipelines: drops corrupt documents and says why.

    LocalPipelineExecutor([
        JsonlReader("data/"),
        LintFilter(domain="zh", exclusion_writer=JsonlWriter("dropped/")),
        JsonlWriter("kept/"),
    ], tasks=8).run()

It stands on datatrove's base block, not on its BaseFilter, which needs language packages.
Tested with datatrove 0.10.1 and its LocalPipelineExecutor.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from steadytrain.text import lint


class LintFilter(PipelineStep):  # type: ignore[misc]  # Any where datatrove is not installed
    """Keeps what is clean or unusual, drops what is corrupt; the reason is the class.

    A document that is not clean carries the verdict in its metadata: `lint_verdict`, `lint_class`,
    `lint_confidence`, `lint_offsets` [characters], `lint_evidence`; a dropped one also has
    `filter_reason`, as with datatrove's own filters.

    Args:
        domain: what the text should be (zh, en, code), where a document's metadata say no `domain`.
        exclusion_writer: a writer of datatrove; it gets what is dropped.
    """

    type = "FILTER"
    name = "steadytrain lint"

    def __init__(self, domain: str | None = None, exclusion_writer: Any = None) -> None:
        super().__init__()
        self.domain = domain
        self.exclusion_writer = exclusion_writer

    def run(
        self, data: Iterable[Document] | None, rank: int = 0, world_size: int = 1
    ) -> Iterator[Document]:
        with self.exclusion_writer or contextlib.nullcontext() as writer:
            for document in data or ():
                self.stat_update("total")
                with self.track_time():
                    reason = self._judge(document)
                if reason is None:
                    self.stat_update("forwarded")
                    self.update_doc_stats(document)
                    yield document
                    continue
                self.stat_update("dropped", f"dropped_{reason}")
                document.metadata["filter_reason"] = reason
                if writer is not None:
                    writer.write(document, rank)

    def _judge(self, document: Document) -> str | None:
        """Why to drop a document; None to keep it."""
        notes = document.metadata
        found = lint(document.text, domain=notes.get("domain") or self.domain)
        if found.verdict == "clean":
            return None
        notes["lint_verdict"] = found.verdict
        notes["lint_class"] = found.kind
        notes["lint_confidence"] = float(found.confidence)
        notes["lint_offsets"] = [list(span) for span in found.offsets]
        notes["lint_evidence"] = found.evidence
        return (found.kind or "corrupt") if found.verdict == "corrupt" else None
