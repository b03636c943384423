"""Who has a label, which images a run sees and when. numpy only, never JAX."""
