"""The persisted queue, its worker, and what a running job sees."""
