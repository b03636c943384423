"""Where images come from: one source a file, and what sources of files share."""
