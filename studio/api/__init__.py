"""The scripted surface: every name that gradio_client can call."""
