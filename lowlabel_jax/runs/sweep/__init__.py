"""Many runs of one config: planned, trained side by side, watched and compared."""
