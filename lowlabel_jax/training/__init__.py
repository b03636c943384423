"""The training line: step.py is one step, loop.py the loop, phases.py what happens between them."""
