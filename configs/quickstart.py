"""The quickstart: digits with ten labels, supervised against FixMatch, one seed, half a minute."""

import digits_compare

NEXT = (  # printed when it is done
    "lowlabel configs digits_fixmatch       # every setting, with its reason",
    "python launch.py --config=configs/digits_compare.py --workdir=runs/cmp --sweep --workers=2"
    "       # six seeds: enough for a test",
)


def get_config():
    """digits_compare's."""
    return digits_compare.get_config()


def sweep():
    """The first seed of digits_compare."""
    return digits_compare.sweep(seeds=[0])
