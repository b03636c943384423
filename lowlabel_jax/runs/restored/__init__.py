"""What comes out of runs that restore images or look for anomalies."""
