"""Networks, one file each: model(images [b, h, w, c] in [-1, 1], train) -> (logits, endpoints)."""
