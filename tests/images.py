"""Images that several test modules use."""

import io

import numpy as np
from PIL import Image, ImageDraw


def draw_digit(digit: int = 7, size: int = 120) -> Image.Image:
    """Return a 7 or a 1 in dark strokes on white, RGB, `size` pixels square."""
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    points = {7: [(35, 30), (80, 30), (50, 95)], 1: [(60, 25), (60, 95)]}[digit]
    pen.line([(x * size / 120, y * size / 120) for x, y in points], "black", width=size // 13, joint="curve")
    return image


def encode_image(image: Image.Image, output_format: str, **options) -> bytes:
    """Return the image in a file format of Pillow."""
    buffer = io.BytesIO()
    image.save(buffer, output_format, **options)
    return buffer.getvalue()


def random_image(rng: np.random.Generator, largest: int) -> np.ndarray:
    """Return a random image: blank, one pixel, noise, rectangles, a gradient with noise; gray, RGB or RGBA."""
    height, width = (int(np.exp(rng.uniform(0, np.log(largest)))) for _ in range(2))
    channels, background, kind = rng.choice([1, 3, 4]), rng.integers(256), rng.integers(7)
    image = np.full((height, width, channels), background, np.uint8)
    if kind == 1:
        image = rng.integers(0, 256, image.shape, dtype=np.uint8)
    elif kind == 2:
        image[rng.integers(height), rng.integers(width)] = 255 - background
    elif kind in (3, 4, 5):
        for _ in range(rng.integers(1, 5)):
            y, x = rng.integers(height), rng.integers(width)
            image[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width // 5 + 2)] = rng.integers(256)
    if kind in (4, 6):
        gradient = np.linspace(0, 60, width)[None, :, None] + rng.normal(0, 5, (height, width, 1))
        image = np.clip(image + gradient, 0, 255).astype(np.uint8)
    if channels == 4:
        levels = rng.choice(["opaque", "all or nothing", "any"])
        if levels != "opaque":
            image[..., 3] = rng.choice([0, 255] if levels == "all or nothing" else 256, (height, width))
        else:
            image[..., 3] = 255
    return image
