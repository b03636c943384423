"""Where a run looks and what it finds alike, as `lowlabel explain` shows it."""
