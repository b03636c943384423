"""`python -m lowlabel_jax` is `lowlabel`."""

import sys

from lowlabel_jax.cli import main

sys.exit(main())
