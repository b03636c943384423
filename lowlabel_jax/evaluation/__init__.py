"""Floor 3: how good a model is, in numbers with intervals, and which of two is better."""
