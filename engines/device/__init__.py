"""The card and the host's memory: what is where, and how it moves."""
