"""Where images come from, who has a label, and which ones a step sees. numpy only, never JAX.

One file a source; a source is found by its file's name.
"""
