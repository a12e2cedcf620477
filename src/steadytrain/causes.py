"""Names of causes: the words that a diagnosis, a ladder and a report share."""

BAD_TEXT = "bad text"
LEARNING_RATE = "learning rate"
OVERFLOW = "numeric overflow"
CORRUPTED_WEIGHTS = "corrupted weights"
OPTIMIZER_STATE = "optimizer state"
HARD_BATCH = "hard batch"
INSTABILITY = "instability"
NOT_KNOWN = "not known"

ALL = (
    OPTIMIZER_STATE,
    CORRUPTED_WEIGHTS,
    LEARNING_RATE,
    OVERFLOW,
    BAD_TEXT,
    HARD_BATCH,
    INSTABILITY,
    NOT_KNOWN,
)
