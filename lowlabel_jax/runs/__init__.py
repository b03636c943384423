"""Floor 4: what is done with whole runs: train, predict, explain, report, compare, export."""
