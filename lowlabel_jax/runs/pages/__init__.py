"""What all pages and plots have in common."""
