"""The persisted job queue, its worker thread, the jobs' events and their progress."""
