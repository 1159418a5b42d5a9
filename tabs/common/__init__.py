"""What every tab shares: how things look, and how a page is wired to the store."""
