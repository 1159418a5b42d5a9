"""Pictures come in, are described, cropped and counted."""
