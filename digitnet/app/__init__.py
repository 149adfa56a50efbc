"""The Gradio sketchpad."""
