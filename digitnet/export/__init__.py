"""Export a checkpoint to ONNX and verify the file."""
