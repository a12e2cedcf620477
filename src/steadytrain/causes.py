"""Names of causes: the words that a diagnosis, a ladder, a trend and a report share."""

BAD_TEXT = "bad text"
REPEATED_DATA = "repeated data"
MIXTURE = "mixture"
LEARNING_RATE = "learning rate"
EPSILON = "epsilon"
OPTIMIZER_STATE = "optimizer state"
OVERFLOW = "numeric overflow"
CORRUPTED_WEIGHTS = "corrupted weights"
CORRUPTED_MOMENTS = "corrupted moments"
CORRUPTED_GRADIENT = "corrupted gradient"
SHALLOW_GRADIENTS = "shallow gradient outbreak"
LOGIT_GROWTH = "logit growth"
HARD_BATCH = "hard batch"
INSTABILITY = "instability"
NOT_KNOWN = "not known"

ALL = (
    OPTIMIZER_STATE,
    EPSILON,
    CORRUPTED_MOMENTS,
    CORRUPTED_WEIGHTS,
    LEARNING_RATE,
    CORRUPTED_GRADIENT,
    OVERFLOW,
    BAD_TEXT,
    REPEATED_DATA,
    SHALLOW_GRADIENTS,
    LOGIT_GROWTH,
    MIXTURE,
    HARD_BATCH,
    INSTABILITY,
    NOT_KNOWN,
)

# Why the panel moves: patterns of `Trend`.
REWARM = "re-warm bump"
ANNEALING = "annealing"
STARVED = "starved domain"
STABILITY_GAP = "stability gap"
LEARNING = "learning the domain"
LEAKED = "leaked panel"
CORRUPT_SOURCE = "corrupt source"
UNSTABLE = "unstable model"
HARDER_BATCHES = "harder batches"

PATTERNS = (
    LEAKED,
    CORRUPT_SOURCE,
    STABILITY_GAP,
    STARVED,
    LEARNING,
    REWARM,
    ANNEALING,
    UNSTABLE,
    HARDER_BATCHES,
    NOT_KNOWN,
)
"""Of `Trend.pattern`. A leaked panel is one that the training data hold or teach by heart."""
