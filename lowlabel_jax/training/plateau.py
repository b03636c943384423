"""Has a validation loss stopped falling? Asked of its last few looks, with their noise in mind."""

from collections.abc import Sequence
from typing import Any

# Looks taken before the end (median of 40 seeds), and how many percent of the fall are not had by
# then (mean), of losses at 100 looks. Above: normal noise as a part of the fall, and the window.
#
#                          1 %, 10   1 %, 20    5 %, 5   5 %, 10   5 %, 20  15 %, 10  15 %, 20
# falls, e-fold in 5      35   0.1  46   0.0  17   4.8  27   0.7  38   0.1  22   2.0  34   0.2
# falls, e-fold in 10     52   0.6  73   0.1  22  14.8  36   3.4  52   0.6  26   9.0  41   1.8
# falls, e-fold in 30     99   0.6 100   0.0  12  65.1  52  17.1  92   1.9  24  48.2  60  12.0
# falls in a line        100   0.0 100   0.0   6  94.0  34  59.0 100   0.0  12  86.7  54  42.4
# falls to look 15, rises 21   0.0  26   0.0  17   1.1  21   0.0  26   0.0  20   0.1  27   0.0
# falls, again from 60    31  50.2  42  50.0  14  54.8  24  50.6  36  50.1  19  52.1  32  50.1
#
# So the fall over a window has to stand out of the noise: a window of 10 at least, or looks that
# are further apart. What no look has shown yet (the last row) nobody can know.
#
# A phase that ends too early loses for good, one that goes on loses a look: hence a large ALPHA. At
# 0.05 the third row loses 42 % instead of 17 % (5 %, 10). Flat noise is left after 1.2 windows
# instead of 1.0, with 0.5.
ALPHA = 0.5


def stabilised(losses: Sequence[float], window: int) -> bool:
    """Whether the last `window` losses, one a look and the oldest first, show no fall any more.

    Kendall's test against a fall, one-sided, and exact where no two are alike: p is the share of
    all orders of these losses with as few rises, counted over pairs. Sizes do not matter, so one
    wild look does not either. False as long as there are fewer looks.
    """
    from scipy.stats import kendalltau

    if len(losses) < window:
        return False
    found: Any = kendalltau(range(window), losses[-window:], alternative="less")
    return not found.pvalue <= ALPHA  # no number where all are alike, and then nothing falls
