"""Floor 0: what every room stands on. Nothing here knows about images or methods."""
