"""One page about a run, as `lowlabel report` writes it."""
