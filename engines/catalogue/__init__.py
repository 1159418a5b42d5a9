"""Lists the models, finds their weights on this machine, and downloads them."""
