"""The scripted surface: the functions that gradio_client can call."""
