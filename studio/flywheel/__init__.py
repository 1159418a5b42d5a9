"""What turns: one file per use case, each with `submit` and `run`."""
