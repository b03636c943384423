"""Networks as tables and drawings, as `lowlabel summary` shows them."""
