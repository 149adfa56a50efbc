"""Classify an image of a digit with onnxruntime and Pillow only: python classify_digit.py image.png [model.onnx]."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

MODEL = Path(__file__).parents[2] / "checkpoints" / "release" / "digitnet.onnx"


def classify_digit(path: str | Path, model: str | Path = MODEL) -> tuple[int, np.ndarray]:
    """Classify the digit in an image.

    Args:
        path: Path of an image of any size.
        model: Path of the ONNX file.

    Returns:
        The digit, or -1 if the image is rejected, and the probability of each digit, float32 (10,).
    """
    session = ort.InferenceSession(model)  # a program that classifies many images creates it once
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")  # of any size, not cropped: the model frames it
    label, probabilities = session.run(["label", "probabilities"], {"image": np.asarray(image)[None]})
    return int(label[0]), probabilities[0]


if __name__ == "__main__":
    label, probabilities = classify_digit(*sys.argv[1:3])
    print("rejected" if label < 0 else f"{label} ({probabilities[label]:.1%})")
