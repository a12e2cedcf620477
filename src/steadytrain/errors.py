"""One tree of exceptions. Every message says what is wrong, what it breaks, what to write instead.

SteadytrainError
  SettingError      the user asked for something impossible (a ValueError too)
  JournalError      a journal cannot be read or written
  CheckpointError   a checkpoint is missing, torn or of another model
  FeedError         the data order cannot do what was asked
  LogError          another tool's log cannot be read
  CorpusError       a corpus cannot be linted as asked
  PanelError        a fixed panel cannot be drawn, read or used as asked
"""


class SteadytrainError(Exception):
    """Whatever steadytrain raises on purpose."""


class SettingError(SteadytrainError, ValueError):
    """The user asked for something impossible."""


class JournalError(SteadytrainError):
    """A journal cannot be read or written."""


class CheckpointError(SteadytrainError):
    """A checkpoint is missing, torn or of another model."""


class FeedError(SteadytrainError):
    """The data order cannot do what was asked."""


class LogError(SteadytrainError):
    """Another tool's log cannot be read."""


class CorpusError(SteadytrainError):
    """A corpus cannot be linted as asked."""


class PanelError(SteadytrainError):
    """A fixed panel cannot be drawn, read or used as asked."""
