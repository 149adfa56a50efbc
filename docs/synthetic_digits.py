"""Draw docs/synthetic_digits.png, docs/further_images.png and docs/glyphs.png.

They show synthetic images, the framed images of the other sources of training images, and the glyph templates.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.data.dataset import draw_altered_digits, draw_ready_made, draw_synthetic
from digitnet.data.glyphs import Glyph, interpolate, load_glyphs
from digitnet.data.synthetic import draw_digit, draw_non_digit, render
from digitnet.files import write_atomically

COLUMNS, CELL, SIDE = 24, 52, 44  # images per row; pixels between them; pixels of each
MARGIN = 112  # pixels for the name of a row
SUPERSAMPLING = 4  # rendered larger by this factor and reduced, for smooth edges
NON_DIGIT_ROWS = 6
FURTHER_ROWS = {  # the number of rows of each source
    "printed digits": 3, "seven segments": 3, "printed non-digits": 4, "altered digits": 4, "words": 2, "textures": 2,
}  # fmt: skip


def main() -> None:
    """Draw all images."""
    draw_samples(np.random.default_rng(5), Path(__file__).with_name("synthetic_digits.png"))
    draw_further(Path(__file__).with_name("further_images.png"))
    draw_templates(Path(__file__).with_name("glyphs.png"))


def draw_samples(rng: np.random.Generator, path: Path) -> None:
    """Draw a row of synthetic images of each digit, and rows of non-digits.

    Args:
        rng: Source of the random numbers.
        path: The PNG file to write.
    """
    rows = [*range(10), *[None] * NON_DIGIT_ROWS]
    cells = []
    for label in rows:
        strokes = [draw_non_digit(rng) if label is None else draw_digit(label, rng) for _ in range(COLUMNS)]
        cells.append([Image.fromarray(255 - render(one, SIDE * SUPERSAMPLING, rng)) for one in strokes])
    save_grid(["non-digit" if label is None else str(label) for label in rows], cells, path)


def draw_further(path: Path) -> None:
    """Draw rows of framed images of the other sources.

    Args:
        path: The PNG file to write.
    """
    counts = {name: rows * COLUMNS for name, rows in FURTHER_ROWS.items()}
    sources = {
        "printed digits": draw_ready_made(counts["printed digits"], 0, 0),
        "seven segments": draw_synthetic(0, 0, seven_segment_digits=counts["seven segments"]),
        "printed non-digits": draw_ready_made(0, counts["printed non-digits"], 0),
        # MNIST is not needed here: they are made from synthetic digits.
        "altered digits": draw_altered_digits(*draw_synthetic(2000, 0), counts["altered digits"]),
        "words": draw_synthetic(0, 0, words=counts["words"]),
        "textures": draw_ready_made(0, 0, counts["textures"]),
    }
    names = [name for name, rows in FURTHER_ROWS.items() for _ in range(rows)]
    images = [255 - image.numpy() for source, _ in sources.values() for image in source]
    enlarged = [Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX) for image in images]
    save_grid(names, [enlarged[start : start + COLUMNS] for start in range(0, len(enlarged), COLUMNS)], path)


def draw_templates(path: Path) -> None:
    """Draw all templates of each digit, of the letters and of the symbols.

    Args:
        path: The PNG file to write.
    """
    glyphs = load_glyphs()
    rows = [*map(list, enumerate(glyphs.digits)), ["letters", glyphs.letters], ["symbols", glyphs.symbols]]
    names, cells = [], []
    for name, templates in rows:
        for start in range(0, len(templates), COLUMNS):
            names.append("" if start else str(name))
            cells.append([draw_template(glyph) for glyph in templates[start : start + COLUMNS]])
    save_grid(names, cells, path)


def draw_template(glyph: Glyph) -> Image.Image:
    """Draw a template: its curves in black and its points in red.

    Args:
        glyph: The template.

    Returns:
        An RGB image of `SIDE * SUPERSAMPLING` = 176 pixels on each side.
    """
    side = SIDE * SUPERSAMPLING
    image = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(image)
    for points, corners, closed in glyph:
        if closed:
            points, corners = np.concatenate([points, points[:1]]), np.append(corners, corners[:1])
        curve = interpolate(points, corners) * (side - 24) + 12
        pen.line([tuple(point) for point in curve.tolist()], fill="black", width=8, joint="curve")
        for x, y in (points * (side - 24) + 12).tolist():
            pen.ellipse((x - 7, y - 7, x + 7, y + 7), fill=(220, 40, 40))
    return image


def save_grid(names: list[str], cells: list[list[Image.Image]], path: Path) -> None:
    """Write rows of images, each with its name, as a PNG file.

    Args:
        names: The name of each row.
        cells: At most 24 images for each row, all of the same mode; they are reduced to 44 x 44 pixels.
        path: The file to write.
    """
    grid = Image.new(cells[0][0].mode, (MARGIN + COLUMNS * CELL, len(cells) * CELL), "white")
    for row, (name, images) in enumerate(zip(names, cells, strict=True)):
        ImageDraw.Draw(grid).text((8, row * CELL + 18), name, fill="dimgray")
        for column, image in enumerate(images):
            reduced = image.resize((SIDE, SIDE), Image.Resampling.BOX)
            grid.paste(reduced, (MARGIN + column * CELL, row * CELL + 4))
    buffer = io.BytesIO()
    grid.save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


if __name__ == "__main__":
    main()
