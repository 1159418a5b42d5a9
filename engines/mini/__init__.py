"""The embedded models: the drawn world they know, and how `assets/mini` was trained from nothing."""
