"""The workplace with its GPU and queue, the desk of one character in it, and the context of a running job."""
