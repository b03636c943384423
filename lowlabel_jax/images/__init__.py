"""Image files: decoded, cropped, looked at once. Nothing here knows of classes or sets."""
