"""`lowlabel debug-nan`: where a run that diverged was first not finite."""
