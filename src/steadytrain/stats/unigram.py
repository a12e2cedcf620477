"""What text costs a model that knows how often each token occurs, and nothing else."""

import numpy as np
from numpy.typing import NDArray


def unigram_entropy(tokens: NDArray[np.integer]) -> float:
    """Entropy of the tokens' frequencies, with Miller's correction for what few tokens cannot show.

    The frequencies of N tokens of K kinds have an entropy that is too small by (K - 1) / 2N and
    more, so a model that costs more than this is worse than counting.

    Args:
        tokens: [N], one or more.

    Returns:
        Nats a token.

    Source: Miller 1955 (and Madow). Of 29,000 to 40,000 kinds of words, 200 windows of 2,048 give 1
    to 2 % less than counts of the rest of 2 million do, 200 of 128 give 4 to 5 % less.

    >>> round(unigram_entropy(np.array([0, 1] * 500)), 4)
    0.6936
    """
    _, counts = np.unique(tokens, return_counts=True)
    shares = counts / tokens.size
    return float(-(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * tokens.size))
