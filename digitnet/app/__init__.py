"""The Gradio sketchpad."""

import os

# Before gradio is imported by a module of this package.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # otherwise importing gradio sends requests
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "100")  # kept in memory; the default is 10,000
