"""The parts that all tabs share: the markup of the page, its widgets, and its wiring to the store."""
