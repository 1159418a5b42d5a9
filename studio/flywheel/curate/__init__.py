"""The use cases that import pictures, caption them, crop them and measure their coverage."""
