"""Runs the models behind the studio; imports neither gradio nor the studio."""
