"""Predict digits with onnxruntime, numpy and Pillow; nothing here imports torch."""
