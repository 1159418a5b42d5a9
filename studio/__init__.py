"""The studio's rules and stored records, without gradio and torch."""
