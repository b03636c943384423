"""What is minimised. One method a file, found by its name; see base.py for what a method is.

To add one: a file `objectives/mine.py` with `def mine(*, option: Range = default)` that returns an
Objective. The contract tests cover it from then on.
"""
