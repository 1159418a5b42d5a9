"""The studio's web pages: Gradio widgets and their handlers, without the rules of the studio."""
