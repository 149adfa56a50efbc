"""Reads a picture of a digit with onnxruntime and Pillow alone: python read_digit.py picture.png [model.onnx]"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

MODEL = Path(__file__).parents[2] / "checkpoints" / "release" / "digitnet.onnx"


def read(path, model=MODEL):
    """The digit, -1 where there is none, and float32 (10,): how likely each digit is."""
    session = ort.InferenceSession(model)  # a program that reads many pictures makes this once
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")  # any size, uncropped: the model frames it
    label, probabilities = session.run(["label", "probabilities"], {"image": np.asarray(picture)[None]})
    return int(label[0]), probabilities[0]


if __name__ == "__main__":
    label, probabilities = read(*sys.argv[1:3])
    print("no digit" if label < 0 else f"{label} ({probabilities[label]:.1%})")
