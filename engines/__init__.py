"""Tensors: the models behind the studio. Knows neither gradio nor studio."""
