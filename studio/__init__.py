"""Rules and memory. Imports neither gradio nor torch."""
