"""The use cases that train a LoRA version of the editor on approved and corrected edits."""
