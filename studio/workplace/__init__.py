"""Where work is done: the workplace with its card and queue, a character's desk in it, and a running job's context."""
