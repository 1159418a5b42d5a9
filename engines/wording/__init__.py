"""What models are asked with, and how their answers are read."""
