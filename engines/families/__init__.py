"""The model families: each a folder with its engine, its maths and its training."""
