"""The quickstart: digits with ten labels, supervised against FixMatch, two seeds, about a minute.

Two, because at one label per class luck in the labels decides a lot, and one seed would hide it.
"""

import digits_compare

NEXT = (  # printed when it is done
    "lowlabel configs digits_fixmatch       # every setting, with its reason",
    "python launch.py --config=configs/digits_compare.py --workdir=runs/cmp --sweep --workers=2"
    "  # 12 seeds",
)


def get_config():
    """digits_compare's."""
    return digits_compare.get_config()


def sweep():
    """The first seeds of digits_compare."""
    return digits_compare.sweep(seeds=range(2))
