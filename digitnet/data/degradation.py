"""Degradation: simulates scans and photos of digits, batch by batch.

Degraded images are framed again, so that the network trains on framed images, as at inference. Each effect changes a
fraction of the images. All random numbers come from torch's generators.
"""

import math
from collections.abc import Callable
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitnet.contract import IMAGE_SIZE
from digitnet.data.transform import RandomTransform, Range
from digitnet.errors import ConfigError
from digitnet.model.framing import BOX, Framing

CANVAS_SIZES = (28, 28, 28, 40, 48)  # pixels; one is sampled for each batch
LARGE_CANVAS = 40  # pixels; a larger one is blurred twice
BOX_INK = 0.2  # ink above which a pixel belongs to the bounding box of a cropped digit
MIN_BOX_SIDE = 0.2  # of the image; a cropped thin stroke does not become a wide one
MIN_OUTLINE = 0.3  # ink below which an outline is not drawn
LINE_EDGE = 1.2  # half line widths at which the ink of a line falls to 0; it is 1 up to LINE_EDGE - 1
DOT_FRACTION = 0.5  # of the distance of two dots; the rest is the gap
FREE_LINES = 0.5  # fraction of lines at any angle; the others are nearly horizontal
BLOT_CELL = 2  # pixels between the random numbers of the noise whose peaks are blots
FOG_CELLS = 5  # random numbers along each axis, between which clouds are interpolated
MEAN_SHADE = 0.7  # half the diagonal of a canvas of width 1, so a brightness gradient is hardly ever negative
MIN_CONTRAST = 0.25  # of strokes of intensity 1 on a dark background, before clipping
GRAY_PAPER = 0.5  # fraction of images with gray paper
FAINT = 0.5  # fraction of images with faint strokes
TILTED = 0.5  # fraction of images with tilted stripes, edges and bands
MAX_SHADOW_SHIFT = 0.3  # of the edge of a shadow from the center, as a fraction of the width of the canvas
DCT_BLOCK = 8  # pixels; the side of the blocks of JPEG
SINGLE_EDGE = 0.5  # fraction of dark edges that are a single one; the others are four
EITHER = 0.5  # fraction of images with vertical stripes or bands rather than horizontal ones, and with mirrored edges


@final
class Degradation(nn.Module):
    """Degrade each image and frame it again.

    Args:
        placement: Places the digit on a canvas.
        stroke: Changes the stroke width and the sharpness of stroke edges.
        distractors: Adds lines and blots.
        background: Adds paper and lighting.
        noise: Adds blur and noise.
        canvas_sizes: Widths of the square canvas in pixels, one of which is sampled for each batch.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(
        self,
        placement: "RandomPlacement | None" = None,
        stroke: "RandomStroke | None" = None,
        distractors: "RandomDistractors | None" = None,
        background: "RandomBackground | None" = None,
        noise: "RandomNoise | None" = None,
        canvas_sizes: tuple[int, ...] = CANVAS_SIZES,
    ) -> None:
        super().__init__()
        if not canvas_sizes or min(canvas_sizes) < IMAGE_SIZE:
            raise ConfigError(f"canvas_sizes of Degradation is {canvas_sizes}; they must be {IMAGE_SIZE} or more")
        self.placement = placement or RandomPlacement()
        self.stroke = stroke or RandomStroke()
        self.distractors = distractors or RandomDistractors()
        self.background = background or RandomBackground()
        self.noise = noise or RandomNoise()
        self.canvas_sizes = canvas_sizes
        self.framing = Framing()

    def forward(self, ink: Tensor) -> Tensor:
        """Return degraded and framed images.

        Args:
            ink: Framed digits, float32 (N, 1, 28, 28) in [0, 1].

        Returns:
            Ink of the same shape and range. An image whose digit cannot be found after the degradation is unchanged.
        """
        size = self.canvas_sizes[int(torch.randint(len(self.canvas_sizes), ()))]
        images = self.stroke(self.placement(ink, size))
        images = self.noise(self.background(self.distractors(images)))
        framed, blank = self.framing((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
        return torch.where(blank[:, None, None, None], ink, framed[:, None])

    def magnitudes(self) -> dict[str, Any]:
        """Return the magnitudes of all steps.

        Returns:
            `canvas_sizes` and the numbers and ranges of each step, named like the command-line options, for example
            "noise.gaussian".
        """
        steps = {name: step for name, step in self.named_children() if isinstance(step, RandomTransform)}
        return {
            "canvas_sizes": self.canvas_sizes,
            **{f"{name}.{key}": value for name, step in steps.items() for key, value in step.magnitudes().items()},
        }

    def extra_repr(self) -> str:
        """Return the arguments that are not modules, for `repr`.

        Returns:
            One line of text.
        """
        return f"canvas_sizes={self.canvas_sizes}"


@final
class RandomPlacement(RandomTransform):
    """Place each digit on a canvas with a random size, position, rotation, shear and aspect ratio.

    Args:
        rotation: Maximum rotation in either direction, in degrees.
        rotated: Fraction of images that are rotated.
        shear: Maximum horizontal displacement per unit of height, in either direction.
        sheared: Fraction of images that are sheared.
        scale: Range of the scale relative to the canvas; a digit keeps at least `min_side` pixels.
        min_side: Minimum width and height of the framed digit on the canvas, in pixels.
        aspect_ratio: Maximum absolute natural logarithm of the horizontal stretch of every image.
        widening: Maximum natural logarithm of the additional stretch of wide images.
        widened: Fraction of wide images.
        perspective: Maximum relative change of the scale from the center to an edge of the canvas, along each axis.
        overhang: Maximum distance by which a digit exceeds the canvas, as a fraction of half its width.
        cropped: Fraction of images that are cropped to the digit, which then fills the canvas.
    """

    FRACTIONS = (("rotated",), ("sheared",), ("widened",), ("cropped",))
    POSITIVE = ("scale", "min_side")

    def __init__(
        self,
        rotation: float = 24.0,
        rotated: float = 0.7,
        shear: float = 0.35,
        sheared: float = 0.5,
        scale: Range = (0.55, 1.15),
        min_side: int = 21,
        aspect_ratio: float = 0.1,
        widening: float = 0.9,
        widened: float = 0.2,
        perspective: float = 0.1,
        overhang: float = 0.05,
        cropped: float = 0.12,
    ) -> None:
        super().__init__()
        self.rotation, self.rotated = rotation, rotated
        self.shear, self.sheared = shear, sheared
        self.scale, self.min_side = scale, min_side
        self.aspect_ratio, self.widening, self.widened = aspect_ratio, widening, widened
        self.perspective, self.overhang, self.cropped = perspective, overhang, cropped
        self.check_magnitudes()

    def forward(self, ink: Tensor, size: int) -> Tensor:
        """Return the images on canvases.

        Args:
            ink: Framed digits, float32 (N, 1, 28, 28) in [0, 1].
            size: Width and height S of the canvas in pixels.

        Returns:
            Ink, float32 (N, 1, S, S) in [0, 1].
        """
        affine = self._sample_affine(ink, size)
        affine = torch.where(_random_mask(ink, self.cropped)[:, 0], _bounding_box(ink), affine)
        grid = F.affine_grid(affine, [len(ink), 1, size, size], align_corners=False)
        x, y = (2 * position - 1 for position in _coordinates(ink.new_empty(1, 1, size, size)))
        slope_x, slope_y = (_uniform(ink, -self.perspective, self.perspective) for _ in range(2))
        depth = (1 + slope_x * x + slope_y * y).movedim(1, 3)  # (N, S, S, 1)
        center = affine[:, None, None, :, 2]
        grid = (grid - center) / depth + center
        return F.grid_sample(ink, grid, align_corners=False)

    def _sample_affine(self, ink: Tensor, size: int) -> Tensor:
        """Return random affine maps from the canvas to the image, (N, 2, 3), in the coordinates of `affine_grid`."""
        limit = math.radians(self.rotation)
        angle = _uniform(ink, -limit, limit) * _random_mask(ink, self.rotated)
        shear = _uniform(ink, -self.shear, self.shear) * _random_mask(ink, self.sheared)
        min_scale = max(self.scale[0], self.min_side / size)
        scale = _uniform(ink, min_scale, max(self.scale[1], min_scale))
        stretch = _uniform(ink, -self.aspect_ratio, self.aspect_ratio)
        stretch = (stretch + _uniform(ink, 0, self.widening) * _random_mask(ink, self.widened)).exp()
        margin = (1 - BOX / IMAGE_SIZE * scale).clamp(min=0) + self.overhang
        cos, sin = angle.cos() / scale, angle.sin() / scale
        shift_x, shift_y = _uniform(ink, -1, 1) * margin, _uniform(ink, -1, 1) * margin
        x = torch.cat([cos / stretch, (shear * cos - sin) / stretch, shift_x], 3)
        y = torch.cat([sin, shear * sin + cos, shift_y], 3)
        return torch.cat([x, y], 2)[:, 0]


@final
class RandomStroke(RandomTransform):
    """Dilate or erode strokes, or replace them by their outlines, and change the sharpness of their edges.

    Args:
        dilated: Fraction of images with dilated strokes: two pixels wider.
        eroded: Fraction of images with eroded strokes: two pixels narrower, if enough of the ink remains.
        min_remaining: Fraction of the ink that must remain after erosion.
        outlined: Fraction of images with outlined strokes, if the strokes are thin.
        max_remaining: Fraction of the ink that may remain after erosion where strokes are outlined; the outline of a
            dot would be a 0.
        sharpened: Fraction of images with sharper edges.
        level: Range of the ink that becomes the middle of a sharpened edge.
        contrast: Range of the factor by which the slope of a sharpened edge grows.
    """

    FRACTIONS = (("dilated", "eroded", "outlined"), ("min_remaining",), ("max_remaining",), ("sharpened",))

    def __init__(
        self,
        dilated: float = 0.15,
        eroded: float = 0.15,
        min_remaining: float = 0.5,
        outlined: float = 0.1,
        max_remaining: float = 0.55,
        sharpened: float = 0.3,
        level: Range = (0.2, 0.6),
        contrast: Range = (2.0, 12.0),
    ) -> None:
        super().__init__()
        self.dilated, self.eroded, self.min_remaining = dilated, eroded, min_remaining
        self.outlined, self.max_remaining = outlined, max_remaining
        self.sharpened, self.level, self.contrast = sharpened, level, contrast
        self.check_magnitudes()

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with other strokes.

        Args:
            images: Ink, float32 (N, 1, S, S) in [0, 1].

        Returns:
            Ink of the same shape and range.
        """
        return self._sharpen(self._change_width(images))

    def _change_width(self, images: Tensor) -> Tensor:
        """Return the images, some of them with dilated, eroded or outlined strokes."""
        dilation, erosion = _dilate(images), 1 - _dilate(1 - images)
        outline = (dilation - erosion) * (dilation - erosion > MIN_OUTLINE)
        remaining = erosion.sum((1, 2, 3), keepdim=True) / images.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
        effect = _uniform(images, 0, 1)
        eroded = (effect > self.dilated) & (effect < self.dilated + self.eroded)
        outlined = (effect > 1 - self.outlined) & (remaining < self.max_remaining)
        images = torch.where(effect < self.dilated, dilation, images)
        images = torch.where(eroded & (remaining > self.min_remaining), erosion, images)
        return torch.where(outlined, outline, images)

    def _sharpen(self, images: Tensor) -> Tensor:
        """Return the images, some of them with sharper edges."""
        level, contrast = _uniform(images, *self.level), _uniform(images, *self.contrast)
        sharpened = ((images - level) * contrast + 0.5).clamp(0, 1)
        return torch.where(_random_mask(images, self.sharpened), sharpened, images)


@final
class RandomDistractors(RandomTransform):
    """Add strokes that do not belong to the digit: a straight, dotted or zigzag line, and blots.

    Lengths are fractions of the width of the canvas, unless noted otherwise.

    Args:
        lined: Fraction of images with a line.
        offset: Maximum distance of the line from the center, in either direction.
        tilt: Maximum angle of half of the lines to the horizontal, in radians; the other half have any angle.
        line_width: Range of half the width of the line, in pixels.
        darkness: Range of the ink of the line.
        zigzag: Fraction of lines that are zigzags.
        teeth: Range of the number of teeth of a zigzag.
        slope: Range of the slope of the teeth.
        dotted: Fraction of the other lines that are dotted.
        dots: Range of the number of dots.
        blotted: Fraction of images with blots.
        blot_level: Range of the level of smooth noise in [0, 1] above which there is a blot; higher means smaller.
        blot_contrast: Slope of the edges of a blot, in ink per unit of the noise.
    """

    FRACTIONS = (("lined",), ("zigzag",), ("dotted",), ("blotted",))
    POSITIVE = ("line_width", "teeth", "dots")

    def __init__(
        self,
        lined: float = 0.32,
        offset: float = 0.45,
        tilt: float = 0.25,
        line_width: Range = (0.5, 1.2),
        darkness: Range = (0.6, 1.0),
        zigzag: float = 0.55,
        teeth: Range = (2.5, 6.0),
        slope: Range = (0.4, 1.8),
        dotted: float = 0.5,
        dots: Range = (5.0, 16.0),
        blotted: float = 0.12,
        blot_level: Range = (0.78, 0.97),
        blot_contrast: float = 12.0,
    ) -> None:
        super().__init__()
        self.lined, self.offset, self.tilt = lined, offset, tilt
        self.line_width, self.darkness = line_width, darkness
        self.zigzag, self.teeth, self.slope = zigzag, teeth, slope
        self.dotted, self.dots = dotted, dots
        self.blotted, self.blot_level, self.blot_contrast = blotted, blot_level, blot_contrast
        self.check_magnitudes()

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with lines and blots.

        Args:
            images: Ink, float32 (N, 1, S, S) in [0, 1].

        Returns:
            Ink of the same shape and range.
        """
        line = self._draw_line(images)
        return torch.maximum(images, torch.maximum(line, self._draw_blots(images)))

    def _draw_line(self, images: Tensor) -> Tensor:
        """Return images, (N, 1, S, S), some of them with a line at a random angle and distance from the center."""
        along, across, center = self._sample_axes(images)
        zigzag, frequency = _random_mask(images, self.zigzag), _uniform(images, *self.teeth)
        slope = _uniform(images, *self.slope)
        teeth = zigzag * slope * ((along * frequency) % 1 - 0.5).abs() / frequency
        center = center + _uniform(images, -self.offset, self.offset)
        distance = (across - center + teeth).abs() / (1 + zigzag * slope**2).sqrt()  # perpendicular to the teeth
        line = (LINE_EDGE - distance * images.shape[-1] / _uniform(images, *self.line_width)).clamp(0, 1)
        gaps = (along * _uniform(images, *self.dots)) % 1 >= DOT_FRACTION
        gaps = gaps & _random_mask(images, self.dotted) & ~zigzag
        return line * ~gaps * _uniform(images, *self.darkness) * _random_mask(images, self.lined)

    def _sample_axes(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coordinates along and across a line at a random angle, and that of the center across it."""
        x, y = _coordinates(images)
        free = _uniform(images, 0, math.pi) * _random_mask(images, FREE_LINES)
        angle = free + _uniform(images, -self.tilt, self.tilt)
        along = x * angle.cos() + y * angle.sin()
        across = y * angle.cos() - x * angle.sin()
        return along, across, 0.5 * (angle.cos() - angle.sin())

    def _draw_blots(self, images: Tensor) -> Tensor:
        """Return images, (N, 1, S, S), some of them with blots: the peaks of smooth noise."""
        cloud = _cloud(images, images.shape[-1] // BLOT_CELL, "bilinear")
        blots = ((cloud - _uniform(images, *self.blot_level)) * self.blot_contrast).clamp(0, 1)
        return blots * _random_mask(images, self.blotted)


@final
class RandomBackground(RandomTransform):
    """Put the strokes on paper that is shaded, foggy, striped, dark at an edge, partly inverted or faded.

    A shadow with an edge, an object at the border or the lines of a form may be on the paper, too.

    At most one of these effects changes an image, because two together make it illegible. Darkness is 0 for bright
    paper and 1 for ink; lengths are fractions of the width of the canvas.

    Args:
        shaded: Fraction of images with a brightness gradient.
        shading: Range of the slope of the gradient, as the change of the darkness over the canvas.
        gray: Maximum darkness of the paper of half of the images.
        foggy: Fraction of images with smooth clouds.
        fog: Range of the darkness of the clouds.
        striped: Fraction of images with stripes or ruled lines.
        stripe_period: Range of the distance of the stripes.
        stripe_width: Range of their width, as a fraction of their distance.
        stripe_darkness: Range of their darkness.
        edged: Fraction of images with one dark edge or four.
        edge_width: Maximum width of a single dark edge.
        frame_width: Maximum width of each of four dark edges.
        edge_darkness: Range of the darkness of the edges.
        inverted: Fraction of images with an inverted band.
        band_center: Range of the center of the band.
        band_width: Range of half its width.
        faded: Fraction of images with low contrast.
        fading: Range of the ink that is added to images with low contrast.
        shadowed: Fraction of images with a shadow on one side of a line.
        shadow: Range of the darkness of the shadow.
        penumbra: Range of the width of its edge.
        intruded: Fraction of images with a dark object at the border, for example a thumb.
        intruder_depth: Range of the distance to which the object extends into the image.
        intruder_width: Range of half the width of the object.
        boxed: Fraction of images with a rectangle of lines, as of a form.
        box_margin: Range of the distance of each line from the border.
        box_line: Range of the width of the lines.
        strength: Range of the stroke intensity, applied to half of the images.
        tilt: Maximum slope of stripes, edges and bands of half of the images.
    """

    FRACTIONS = (("shaded", "foggy", "striped", "edged", "inverted", "faded", "shadowed", "intruded", "boxed"),)
    POSITIVE = ("stripe_period", "penumbra", "intruder_depth", "intruder_width", "box_line")

    def __init__(
        self,
        shaded: float = 0.07,
        shading: Range = (0.0, 0.45),
        gray: float = 0.15,
        foggy: float = 0.07,
        fog: Range = (0.0, 0.5),
        striped: float = 0.07,
        stripe_period: Range = (0.06, 0.4),
        stripe_width: Range = (0.08, 0.5),
        stripe_darkness: Range = (0.1, 0.5),
        edged: float = 0.14,
        edge_width: float = 0.12,
        frame_width: float = 0.1,
        edge_darkness: Range = (0.3, 0.9),
        inverted: float = 0.14,
        band_center: Range = (0.3, 0.7),
        band_width: Range = (0.15, 0.4),
        faded: float = 0.06,
        fading: Range = (0.0, 0.55),
        shadowed: float = 0.08,
        shadow: Range = (0.15, 0.55),
        penumbra: Range = (0.01, 0.3),
        intruded: float = 0.05,
        intruder_depth: Range = (0.03, 0.2),
        intruder_width: Range = (0.1, 0.5),
        boxed: float = 0.06,
        box_margin: Range = (0.0, 0.1),
        box_line: Range = (0.02, 0.05),
        strength: Range = (0.35, 1.0),
        tilt: float = 0.08,
    ) -> None:
        super().__init__()
        self.shaded, self.shading, self.gray = shaded, shading, gray
        self.foggy, self.fog = foggy, fog
        self.striped, self.stripe_period = striped, stripe_period
        self.stripe_width, self.stripe_darkness = stripe_width, stripe_darkness
        self.edged, self.edge_darkness = edged, edge_darkness
        self.edge_width, self.frame_width = edge_width, frame_width
        self.inverted, self.band_center, self.band_width = inverted, band_center, band_width
        self.faded, self.fading = faded, fading
        self.shadowed, self.shadow, self.penumbra = shadowed, shadow, penumbra
        self.intruded, self.intruder_depth, self.intruder_width = intruded, intruder_depth, intruder_width
        self.boxed, self.box_margin, self.box_line = boxed, box_margin, box_line
        self.strength, self.tilt = strength, tilt
        self.check_magnitudes()

    def forward(self, images: Tensor) -> Tensor:
        """Return the images on backgrounds.

        Args:
            images: Ink, float32 (N, 1, S, S) in [0, 1].

        Returns:
            Darkness of the same shape and range: 0 is bright paper, 1 is ink.
        """
        shaded, foggy, striped, edged, inverted, faded, shadowed, intruded, boxed = _one_of(
            images, *(getattr(self, name) for name in self.FRACTIONS[0])
        )
        dark = self._draw_shading(images, shaded)
        dark = dark + _cloud(images, FOG_CELLS, "bicubic") * _uniform(images, *self.fog) * foggy
        axis = self._sample_axis(images)
        dark = dark + self._draw_stripes(images, axis) * striped
        dark = dark + self._draw_edges(images, axis) * edged
        dark = _change_selected(dark, shadowed, self._add_shadow)
        dark = _change_selected(dark, intruded, self._add_intruder)
        dark = _change_selected(dark, boxed, self._add_box)
        result = self._draw_strokes(images, dark)
        band = (axis - _uniform(images, *self.band_center)).abs() < _uniform(images, *self.band_width)
        result = torch.where(band & inverted, 1 - result, result)
        return (result + _uniform(images, *self.fading) * faded).clamp(0, 1)

    def _draw_shading(self, images: Tensor, shaded: Tensor) -> Tensor:
        """Return the darkness of gray paper and of a brightness gradient."""
        x, y = _coordinates(images)
        angle = _uniform(images, 0, 2 * math.pi)
        slope = (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin() + MEAN_SHADE
        gray = _uniform(images, 0, self.gray) * _random_mask(images, GRAY_PAPER)
        return gray + slope * _uniform(images, *self.shading) * shaded

    def _sample_axis(self, images: Tensor) -> Tensor:
        """Return the coordinate across stripes and bands: x or y, in half of the images a little rotated."""
        x, y = _coordinates(images)
        vertical = _random_mask(images, EITHER)
        tilt = _uniform(images, -self.tilt, self.tilt)
        return torch.where(vertical, x, y) + (x - y) * tilt * _random_mask(images, TILTED)

    def _draw_stripes(self, images: Tensor, axis: Tensor) -> Tensor:
        """Return the darkness of stripes of random period and width."""
        period, width = _uniform(images, *self.stripe_period), _uniform(images, *self.stripe_width)
        stripes = (axis / period + _uniform(images, 0, 1)) % 1 < width
        return stripes * _uniform(images, *self.stripe_darkness)

    def _draw_edges(self, images: Tensor, axis: Tensor) -> Tensor:
        """Return the darkness of one dark edge, or of a dark frame."""
        x, y = _coordinates(images)
        edge = torch.where(_random_mask(images, EITHER), axis, 1 - axis) - _uniform(images, 0, self.edge_width)
        left, right, top, bottom = (_uniform(images, 0, self.frame_width) for _ in range(4))
        sides = torch.minimum(x - left, 1 - right - x)
        frame = torch.minimum(sides, torch.minimum(y - top, 1 - bottom - y))
        outside = torch.where(_random_mask(images, SINGLE_EDGE), edge, frame) < 0
        return outside * _uniform(images, *self.edge_darkness)

    def _add_shadow(self, dark: Tensor) -> Tensor:
        """Return the darkness, (N, 1, S, S), with a shadow on one side of a line at any angle."""
        x, y = _coordinates(dark)
        angle = _uniform(dark, 0, 2 * math.pi)
        distance = (
            (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin() + _uniform(dark, -MAX_SHADOW_SHIFT, MAX_SHADOW_SHIFT)
        )
        return dark + (distance / _uniform(dark, *self.penumbra) + 0.5).clamp(0, 1) * _uniform(dark, *self.shadow)

    def _add_intruder(self, dark: Tensor) -> Tensor:
        """Return the darkness, (N, 1, S, S), with an ellipse whose center is on one side of the border."""
        x, y = _coordinates(dark)
        vertical = _random_mask(dark, EITHER)
        along, inward = torch.where(vertical, x, y), torch.where(vertical, y, x)
        inward = torch.where(_random_mask(dark, EITHER), inward, 1 - inward)
        along = (along - _uniform(dark, 0, 1)) / _uniform(dark, *self.intruder_width)
        inside = along**2 + (inward / _uniform(dark, *self.intruder_depth)) ** 2 < 1
        return dark + inside * _uniform(dark, *self.edge_darkness)

    def _add_box(self, dark: Tensor) -> Tensor:
        """Return the darkness, (N, 1, S, S), with the four lines of a rectangle near the border."""
        x, y = _coordinates(dark)
        width = _uniform(dark, *self.box_line)
        lines = torch.zeros_like(dark, dtype=torch.bool)
        for position in (x, 1 - x, y, 1 - y):
            distance = position - _uniform(dark, *self.box_margin)
            lines = lines | ((distance >= 0) & (distance < width))
        return dark + lines * _uniform(dark, *self.edge_darkness)

    def _draw_strokes(self, images: Tensor, dark: Tensor) -> Tensor:
        """Return the strokes, some of them faint, on a background, with a contrast of at least 0.25 before clipping."""
        strength = _uniform(images, *self.strength)
        strength = torch.where(_random_mask(images, FAINT), strength, 1.0)
        return (dark + images * strength * (1 - dark).clamp(min=MIN_CONTRAST)).clamp(0, 1)


@final
class RandomNoise(RandomTransform):
    """Blur images, add noise, and invert half of them.

    At most one kind of blur or noise changes an image.

    Args:
        blurred: Fraction of images that are blurred, each by a random amount.
        glass: Fraction of images seen through frosted glass.
        displacement: Range of the maximum displacement of pixels by frosted glass, in pixels.
        gaussian: Fraction of images with Gaussian noise.
        gaussian_std: Range of its standard deviation.
        shot: Fraction of images with noise that grows with the intensity, as in low light.
        shot_std: Range of its standard deviation where the intensity is 1.
        impulse: Fraction of images with black and white pixels.
        impulse_fraction: Range of the fraction of black pixels, and of that of white pixels.
        coarse: Fraction of images that are reduced and enlarged again.
        resolution: Range of the factor by which they are reduced, sampled for each batch.
        compressed: Fraction of images with compression artifacts, as of JPEG.
        quantization: Range of the step to which the coefficients of the constant and of the slowest waves are rounded;
            that of the others grows with their frequency.
        inverted: Fraction of images with dark strokes on a bright background.
    """

    FRACTIONS = (("blurred", "glass", "gaussian", "shot", "impulse", "coarse", "compressed"), ("inverted",))
    POSITIVE = ("resolution", "quantization")

    def __init__(
        self,
        blurred: float = 0.1,
        glass: float = 0.08,
        displacement: Range = (0.5, 1.6),
        gaussian: float = 0.1,
        gaussian_std: Range = (0.0, 0.12),
        shot: float = 0.1,
        shot_std: Range = (0.0, 0.6),
        impulse: float = 0.1,
        impulse_fraction: Range = (0.0, 0.12),
        coarse: float = 0.07,
        resolution: Range = (0.4, 0.8),
        compressed: float = 0.07,
        quantization: Range = (0.05, 0.2),
        inverted: float = 0.5,
    ) -> None:
        super().__init__()
        self.blurred = blurred
        self.glass, self.displacement = glass, displacement
        self.gaussian, self.gaussian_std = gaussian, gaussian_std
        self.shot, self.shot_std = shot, shot_std
        self.impulse, self.impulse_fraction = impulse, impulse_fraction
        self.coarse, self.resolution = coarse, resolution
        self.compressed, self.quantization = compressed, quantization
        self.inverted = inverted
        self.check_magnitudes()

    def forward(self, images: Tensor) -> Tensor:
        """Return the images with blur and noise.

        Args:
            images: Darkness, float32 (N, 1, S, S) in [0, 1].

        Returns:
            Gray levels of the same shape and range, half of them inverted.
        """
        blurred, glass, gaussian, shot, impulse, coarse, compressed = _one_of(
            images, *(getattr(self, name) for name in self.FRACTIONS[0])
        )
        images = self._blur(images, blurred, glass)
        images = _change_selected(images, coarse, self._reduce)
        images = _change_selected(images, compressed, self._compress)
        noise = torch.randn_like(images)
        images = images + noise * _uniform(images, *self.gaussian_std) * gaussian
        images = images + noise * images.clamp(min=0).sqrt() * _uniform(images, *self.shot_std) * shot
        uniform, fraction = torch.rand_like(images), _uniform(images, *self.impulse_fraction) * impulse
        images = torch.where(uniform < fraction, 0.0, torch.where(uniform > 1 - fraction, 1.0, images)).clamp(0, 1)
        return torch.where(_random_mask(images, self.inverted), 1 - images, images)

    def _blur(self, images: Tensor, blurred: Tensor, glass: Tensor) -> Tensor:
        """Return the images, some of them blurred and some with displaced pixels."""
        soft = _blur_5x5(images)
        if images.shape[-1] > LARGE_CANVAS:
            soft = _blur_5x5(soft)
        images = torch.where(blurred, torch.lerp(soft, images, _uniform(images, 0, 1)), images)
        return torch.where(glass, self._displace(soft), images)

    def _reduce(self, images: Tensor) -> Tensor:
        """Return the images at a lower resolution, enlarged again."""
        low, high = self.resolution
        size = max(1, round(images.shape[-1] * (low + (high - low) * float(torch.rand(())))))
        small = F.interpolate(images, (size, size), mode="area")
        return F.interpolate(small, images.shape[-2:], mode="bilinear")

    def _compress(self, images: Tensor) -> Tensor:
        """Return the images with rounded coefficients of the discrete cosine transform of blocks of 8 x 8 pixels."""
        size = images.shape[-1]
        margin = -size % DCT_BLOCK
        blocks = F.pad(images, (0, margin, 0, margin), mode="replicate").unfold(2, DCT_BLOCK, DCT_BLOCK)
        blocks = blocks.unfold(3, DCT_BLOCK, DCT_BLOCK)  # (N, 1, S / 8, S / 8, 8, 8)
        transform, steps = _dct_matrix(images.device)
        step = _uniform(images, *self.quantization)[..., None, None] * steps
        coefficients = ((transform @ blocks @ transform.T) / step).round() * step
        restored = transform.T @ coefficients @ transform
        return restored.transpose(3, 4).reshape(len(images), 1, size + margin, -1)[..., :size, :size].clamp(0, 1)

    def _displace(self, images: Tensor) -> Tensor:
        """Return the images with each pixel taken from a random position nearby."""
        count, _, size, _ = images.shape
        x, y = _coordinates(images)
        offset = torch.rand(2, count, size, size, device=images.device) * 2 - 1
        offset = offset * _uniform(images, *self.displacement)[:, 0] * 2 / size
        grid = torch.stack([x * 2 - 1 + offset[0], y * 2 - 1 + offset[1]], -1)
        return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Return one uniform random number per image, (N, 1, 1, 1)."""
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def _random_mask(images: Tensor, fraction: float) -> Tensor:
    """Return a random selection of the images, bool (N, 1, 1, 1)."""
    return _uniform(images, 0, 1) < fraction


def _one_of(images: Tensor, *fractions: float) -> list[Tensor]:
    """Return disjoint random selections of the images, each bool (N, 1, 1, 1), with these fractions."""
    sample, stops = _uniform(images, 0, 1), [sum(fractions[: index + 1]) for index in range(len(fractions))]
    return [(sample < stop) & (sample >= stop - fraction) for stop, fraction in zip(stops, fractions, strict=True)]


def _change_selected(images: Tensor, selected: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images, (N, 1, S, S), with `change` applied to the selected ones only.

    It is computed for all of them, because the number of selected images is not known without waiting for a GPU.
    """
    return torch.where(selected, change(images), images)


def _coordinates(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return x, (1, S), and y, (S, 1), of the pixel centers in [0, 1]."""
    size = images.shape[-1]
    steps = (torch.arange(size, device=images.device) + 0.5) / size
    return steps[None, :], steps[:, None]


def _cloud(images: Tensor, cells: int, mode: str) -> Tensor:
    """Return smooth noise, (N, 1, S, S) in [0, 1], interpolated between `cells` x `cells` random numbers."""
    noise = torch.rand(len(images), 1, cells, cells, device=images.device)
    return F.interpolate(noise, images.shape[-2:], mode=mode).clamp(0, 1)


def _dct_matrix(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the matrix of the discrete cosine transform and the relative steps for rounding, (8, 8)."""
    index = torch.arange(DCT_BLOCK, device=device)
    transform = (math.pi / DCT_BLOCK * (index + 0.5) * index[:, None]).cos() * (2 / DCT_BLOCK) ** 0.5
    transform[0] /= 2**0.5
    return transform, 1 + index + index[:, None]


def _dilate(images: Tensor) -> Tensor:
    """Return the maximum over 3 x 3 pixels; ten times as fast as max_pool2d, which is optimized for many channels."""
    padded = F.pad(images, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _blur_5x5(images: Tensor) -> Tensor:
    """Return the images blurred with a triangular kernel. Slicing is faster here than conv2d, as in `_dilate`."""
    size, padded = images.shape[-1], F.pad(images, (2, 2, 2, 2), mode="replicate")
    weights = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)
    rows = sum((weight * padded[:, :, k : k + size] for k, weight in enumerate(weights)), torch.zeros(()))
    return sum((weight * rows[..., k : k + size] for k, weight in enumerate(weights)), torch.zeros(()))


def _bounding_box(ink: Tensor) -> Tensor:
    """Return the affine maps, (N, 2, 3), that stretch the bounding box of each digit over the whole canvas."""
    used = torch.cat([ink.amax(2), ink.amax(3)], 1) > BOX_INK  # (N, 2, 28): columns, rows
    index = torch.arange(IMAGE_SIZE, device=ink.device)
    start = torch.where(used, index, IMAGE_SIZE).amin(2)
    stop = torch.where(used, index + 1, 0).amax(2)
    half = ((stop - start) / IMAGE_SIZE).clamp(min=MIN_BOX_SIDE)
    middle = (start + stop) / IMAGE_SIZE - 1
    zero = torch.zeros_like(half[:, 0])
    return torch.stack([half[:, 0], zero, middle[:, 0], zero, half[:, 1], middle[:, 1]], 1).view(-1, 2, 3)
