"""What finished runs say of images: predictions, labels, what to label next."""
