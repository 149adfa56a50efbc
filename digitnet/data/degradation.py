"""Degradation: digits as they are drawn, scanned and photographed, simulated for whole batches.

Degraded images are framed again, because the network classifies what framing makes of thin strokes, noise, lines and
dark edges. Each effect changes a fraction of the images. All random numbers come from torch's generators.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitnet.model.framing import SIZE, Framing

CANVAS_SIZES = (28, 28, 28, 40, 48)  # pixels; one is drawn for each batch


class Degradation(nn.Module):
    """Degrade each image and frame it again.

    The steps are `RandomPlacement`, `RandomStroke`, `RandomDistractors`, `RandomBackground` and `RandomNoise`. Pass a
    step with other magnitudes to change them.

    Args:
        placement: Places the digit on a canvas.
        stroke: Changes the stroke width and the hardness of its edges.
        distractors: Adds lines and blots.
        background: Adds paper and lighting.
        noise: Adds blur and noise.
        canvas_sizes: Widths of the square canvas in pixels, one of which is drawn for each batch.
    """

    def __init__(
        self,
        placement: nn.Module | None = None,
        stroke: nn.Module | None = None,
        distractors: nn.Module | None = None,
        background: nn.Module | None = None,
        noise: nn.Module | None = None,
        canvas_sizes: tuple[int, ...] = CANVAS_SIZES,
    ) -> None:
        super().__init__()
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


class RandomPlacement(nn.Module):
    """Place each digit on a canvas with a random size, position, rotation, shear and aspect ratio.

    Args:
        rotation: Maximum rotation of seven in ten images, in degrees.
        shear: Maximum shear of half of the images, as displacement per unit of height.
        min_scale: Minimum scale relative to the canvas.
        max_scale: Maximum scale relative to the canvas.
        stretch: Maximum natural logarithm of the horizontal stretch of one in five images.
        crop: Fraction of images that are cropped to the digit, which then fills the canvas.
    """

    def __init__(
        self,
        rotation: float = 24.0,
        shear: float = 0.35,
        min_scale: float = 0.55,
        max_scale: float = 1.15,
        stretch: float = 0.9,
        crop: float = 0.12,
    ) -> None:
        super().__init__()
        self.rotation, self.shear, self.stretch, self.crop = rotation, shear, stretch, crop
        self.min_scale, self.max_scale = min_scale, max_scale

    def forward(self, ink: Tensor, size: int) -> Tensor:
        """Return the images on canvases.

        Args:
            ink: Framed digits, float32 (N, 1, 28, 28) in [0, 1].
            size: Width and height S of the canvas in pixels.

        Returns:
            Ink, float32 (N, 1, S, S) in [0, 1].
        """
        affine = self._draw_affine(ink, size)
        affine = torch.where(_chance(ink, self.crop)[:, 0], _bounding_box(ink), affine)
        grid = F.affine_grid(affine, [len(ink), 1, size, size], align_corners=False)
        return F.grid_sample(ink, grid, align_corners=False)

    def _draw_affine(self, ink: Tensor, size: int) -> Tensor:
        """Return random affine maps from the canvas to the image, (N, 2, 3), in the coordinates of `affine_grid`."""
        limit = math.radians(self.rotation)
        angle = _uniform(ink, -limit, limit) * _chance(ink, 0.7)
        shear = _uniform(ink, -self.shear, self.shear) * _chance(ink, 0.5)
        scale = _uniform(ink, max(self.min_scale, 21 / size), self.max_scale)  # a digit has at least 21 pixels
        stretch = (_uniform(ink, -0.1, 0.1) + _uniform(ink, 0, self.stretch) * _chance(ink, 0.2)).exp()
        margin = (1 - 20 / 28 * scale).clamp(min=0) + 0.05  # a little of the digit may be cut off
        cos, sin = angle.cos() / scale, angle.sin() / scale
        shift_x, shift_y = _uniform(ink, -1, 1) * margin, _uniform(ink, -1, 1) * margin
        x = torch.cat([cos / stretch, (shear * cos - sin) / stretch, shift_x], 3)
        y = torch.cat([sin, shear * sin + cos, shift_y], 3)
        return torch.cat([x, y], 2)[:, 0]


class RandomStroke(nn.Module):
    """Make strokes thicker or thinner, or replace them by their outlines, and change the hardness of edges.

    Args:
        thicken: Fraction of images with thicker strokes.
        thin: Fraction of images with thinner strokes, if enough of the strokes remains.
        outline: Fraction of images with outlined strokes, if the strokes are thin.
        harden: Fraction of images with another edge hardness.
    """

    def __init__(self, thicken: float = 0.15, thin: float = 0.15, outline: float = 0.1, harden: float = 0.3) -> None:
        super().__init__()
        self.thicken, self.thin, self.outline, self.harden = thicken, thin, outline, harden

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, (N, 1, S, S), with other strokes."""
        thick, thin = _dilate(images), 1 - _dilate(1 - images)
        outline = (thick - thin) * (thick - thin > 0.3)
        remaining = thin.sum((1, 2, 3), keepdim=True) / images.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
        effect = _uniform(images, 0, 1)
        thinned = (effect > self.thicken) & (effect < self.thicken + self.thin) & (remaining > 0.5)
        outlined = (effect > 1 - self.outline) & (remaining < 0.55)  # the outline of a dot would be a 0
        images = torch.where(effect < self.thicken, thick, images)
        images = torch.where(thinned, thin, images)
        images = torch.where(outlined, outline, images)
        level, contrast = _uniform(images, 0.2, 0.6), _uniform(images, 2, 12)
        hardened = ((images - level) * contrast + 0.5).clamp(0, 1)
        return torch.where(_chance(images, self.harden), hardened, images)


class RandomDistractors(nn.Module):
    """Add strokes that do not belong to the digit: a straight, dotted or zigzag line, and blots.

    Args:
        line: Fraction of images with a line.
        blots: Fraction of images with blots.
    """

    def __init__(self, line: float = 0.32, blots: float = 0.12) -> None:
        super().__init__()
        self.line, self.blots = line, blots

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, (N, 1, S, S), with lines and blots."""
        line = self._draw_line(images)
        cloud = _cloud(images, images.shape[-1] // 2, "bilinear")
        blots = ((cloud - _uniform(images, 0.78, 0.97)) * 12).clamp(0, 1) * _chance(images, self.blots)
        return torch.maximum(images, torch.maximum(line, blots))

    def _draw_line(self, images: Tensor) -> Tensor:
        """Return images, (N, 1, S, S), of which a fraction has a line at a random angle and distance to the center."""
        x, y = _coordinates(images)
        angle = _uniform(images, 0, math.pi) * _chance(images, 0.5) + _uniform(images, -0.25, 0.25)
        along = x * angle.cos() + y * angle.sin()
        across = y * angle.cos() - x * angle.sin()
        zigzag, frequency, slope = _chance(images, 0.55), _uniform(images, 2.5, 6), _uniform(images, 0.4, 1.8)
        teeth = zigzag * slope * ((along * frequency) % 1 - 0.5).abs() / frequency
        center = 0.5 * (angle.cos() - angle.sin()) + _uniform(images, -0.45, 0.45)
        distance = (across - center + teeth).abs() / (1 + zigzag * slope**2).sqrt()
        line = (1.2 - distance * images.shape[-1] / _uniform(images, 0.5, 1.2)).clamp(0, 1)
        gaps = ((along * _uniform(images, 5, 16)) % 1 >= 0.5) & _chance(images, 0.5) & ~zigzag
        return line * ~gaps * _uniform(images, 0.6, 1) * _chance(images, self.line)


class RandomBackground(nn.Module):
    """Put the strokes on paper that is shaded, foggy, striped, dark at an edge, partly inverted or faded.

    At most one of these effects changes an image, because two together make it illegible.

    Args:
        shading: Fraction of images with a brightness gradient.
        fog: Fraction of images with smooth clouds.
        stripes: Fraction of images with stripes or ruled lines.
        edge: Fraction of images with one dark edge or four.
        inversion: Fraction of images with an inverted band.
        fading: Fraction of images with low contrast.
    """

    def __init__(
        self,
        shading: float = 0.07,
        fog: float = 0.07,
        stripes: float = 0.07,
        edge: float = 0.14,
        inversion: float = 0.14,
        fading: float = 0.06,
    ) -> None:
        super().__init__()
        self.fractions = (shading, fog, stripes, edge, inversion, fading)

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, (N, 1, S, S), on backgrounds; 0 is bright paper and 1 is ink."""
        shaded, foggy, striped, edged, inverted, faded = _one_of(images, *self.fractions)
        dark = self._draw_shading(images, shaded)
        dark = dark + _cloud(images, 5, "bicubic") * _uniform(images, 0, 0.5) * foggy
        axis = self._draw_axis(images)
        dark = dark + self._draw_stripes(images, axis) * striped
        dark = dark + self._draw_edges(images, axis) * edged
        weight = _uniform(images, 0.35, 1)
        weight = torch.where(_chance(images, 0.5), weight, 1.0)
        result = (dark + images * weight * (1 - dark).clamp(min=0.25)).clamp(0, 1)
        band = (axis - _uniform(images, 0.3, 0.7)).abs() < _uniform(images, 0.15, 0.4)
        result = torch.where(band & inverted, 1 - result, result)
        return (result + _uniform(images, 0, 0.55) * faded).clamp(0, 1)

    def _draw_shading(self, images: Tensor, shaded: Tensor) -> Tensor:
        """Return the darkness of gray paper and of a brightness gradient."""
        x, y = _coordinates(images)
        angle = _uniform(images, 0, 2 * math.pi)
        slope = (x - 0.5) * angle.cos() + (y - 0.5) * angle.sin() + 0.7
        return _uniform(images, 0, 0.15) * _chance(images, 0.5) + slope * _uniform(images, 0, 0.45) * shaded

    def _draw_axis(self, images: Tensor) -> Tensor:
        """Return the coordinate across stripes and bands: x or y, in half of the images a little rotated."""
        x, y = _coordinates(images)
        vertical = _chance(images, 0.5)
        return torch.where(vertical, x, y) + (x - y) * _uniform(images, -0.08, 0.08) * _chance(images, 0.5)

    def _draw_stripes(self, images: Tensor, axis: Tensor) -> Tensor:
        """Return the darkness of stripes of random period and width."""
        period, width = _uniform(images, 0.06, 0.4), _uniform(images, 0.08, 0.5)
        stripes = (axis / period + _uniform(images, 0, 1)) % 1 < width
        return stripes * _uniform(images, 0.1, 0.5)

    def _draw_edges(self, images: Tensor, axis: Tensor) -> Tensor:
        """Return the darkness of one dark edge, or of a dark frame."""
        x, y = _coordinates(images)
        edge = torch.where(_chance(images, 0.5), axis, 1 - axis) - _uniform(images, 0, 0.12)
        left, right, top, bottom = (_uniform(images, 0, 0.1) for _ in range(4))
        sides = torch.minimum(x - left, 1 - right - x)
        frame = torch.minimum(sides, torch.minimum(y - top, 1 - bottom - y))
        outside = torch.where(_chance(images, 0.5), edge, frame) < 0
        return outside * _uniform(images, 0.3, 0.9)


class RandomNoise(nn.Module):
    """Blur images, add noise, and invert half of them.

    At most one kind of blur or noise changes an image.

    Args:
        blur: Fraction of images that are blurred.
        glass: Fraction of images seen through frosted glass.
        gaussian: Fraction of images with Gaussian noise.
        shot: Fraction of images with noise that grows with the intensity, as in low light.
        impulse: Fraction of images with black and white pixels.
        invert: Fraction of images with dark strokes on a bright background.
    """

    def __init__(
        self,
        blur: float = 0.1,
        glass: float = 0.08,
        gaussian: float = 0.1,
        shot: float = 0.1,
        impulse: float = 0.1,
        invert: float = 0.5,
    ) -> None:
        super().__init__()
        self.fractions = (blur, glass, gaussian, shot, impulse)
        self.invert = invert

    def forward(self, images: Tensor) -> Tensor:
        """Return the images, (N, 1, S, S), with blur and noise, in [0, 1]."""
        blurred, glass, gaussian, shot, impulse = _one_of(images, *self.fractions)
        images = self._blur(images, blurred, glass)
        noise = torch.randn_like(images)
        images = images + noise * _uniform(images, 0, 0.12) * gaussian
        images = images + noise * images.clamp(min=0).sqrt() * _uniform(images, 0, 0.6) * shot
        chance, failed = torch.rand_like(images), _uniform(images, 0, 0.12) * impulse
        images = torch.where(chance < failed, 0.0, torch.where(chance > 1 - failed, 1.0, images)).clamp(0, 1)
        return torch.where(_chance(images, self.invert), 1 - images, images)

    def _blur(self, images: Tensor, blurred: Tensor, glass: Tensor) -> Tensor:
        """Return the images, of which some are blurred and some have their pixels displaced."""
        soft = _blur_5x5(images)
        if images.shape[-1] > 40:
            soft = _blur_5x5(soft)
        images = torch.where(blurred, torch.lerp(soft, images, _uniform(images, 0, 1)), images)
        return torch.where(glass, self._displace(soft), images)

    def _displace(self, images: Tensor) -> Tensor:
        """Return the images with each pixel taken from up to 1.6 pixels away."""
        count, _, size, _ = images.shape
        x, y = _coordinates(images)
        offset = torch.rand(2, count, size, size, device=images.device) * 2 - 1
        offset = offset * _uniform(images, 0.5, 1.6)[:, 0] * 2 / size
        grid = torch.stack([x * 2 - 1 + offset[0], y * 2 - 1 + offset[1]], -1)
        return F.grid_sample(images, grid, align_corners=False, padding_mode="border")


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    """Return one uniform random number per image, (N, 1, 1, 1)."""
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def _chance(images: Tensor, fraction: float) -> Tensor:
    """Return a random selection of the images, bool (N, 1, 1, 1)."""
    return _uniform(images, 0, 1) < fraction


def _one_of(images: Tensor, *fractions: float) -> list[Tensor]:
    """Return disjoint random selections of the images, each bool (N, 1, 1, 1), with these fractions."""
    drawn, stops = _uniform(images, 0, 1), [sum(fractions[: index + 1]) for index in range(len(fractions))]
    return [(drawn < stop) & (drawn >= stop - fraction) for stop, fraction in zip(stops, fractions, strict=True)]


def _coordinates(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return x, (1, S), and y, (S, 1), of the pixel centers in [0, 1]."""
    size = images.shape[-1]
    steps = (torch.arange(size, device=images.device) + 0.5) / size
    return steps[None, :], steps[:, None]


def _cloud(images: Tensor, cells: int, mode: str) -> Tensor:
    """Return smooth noise, (N, 1, S, S) in [0, 1], interpolated between `cells` x `cells` random numbers."""
    noise = torch.rand(len(images), 1, cells, cells, device=images.device)
    return F.interpolate(noise, images.shape[-2:], mode=mode).clamp(0, 1)


def _dilate(images: Tensor) -> Tensor:
    """Return the maximum over 3 x 3 pixels; ten times as fast as max_pool2d, which is optimized for many channels."""
    padded = F.pad(images, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _blur_5x5(images: Tensor) -> Tensor:
    """Return the images blurred with a triangular kernel, by slices for the same reason as in `_dilate`."""
    size, padded = images.shape[-1], F.pad(images, (2, 2, 2, 2), mode="replicate")
    weights = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)
    rows = sum((weight * padded[:, :, k : k + size] for k, weight in enumerate(weights)), torch.zeros(()))
    return sum((weight * rows[..., k : k + size] for k, weight in enumerate(weights)), torch.zeros(()))


def _bounding_box(ink: Tensor) -> Tensor:
    """Return the affine maps, (N, 2, 3), that stretch the bounding box of each digit over the whole canvas."""
    used = torch.cat([ink.amax(2), ink.amax(3)], 1) > 0.2  # (N, 2, 28): columns, rows
    index = torch.arange(SIZE, device=ink.device)
    start = torch.where(used, index, SIZE).amin(2)
    stop = torch.where(used, index + 1, 0).amax(2)
    half = ((stop - start) / SIZE).clamp(min=0.2)  # a thin stroke does not become a wide one
    middle = (start + stop) / SIZE - 1
    zero = torch.zeros_like(half[:, 0])
    return torch.stack([half[:, 0], zero, middle[:, 0], zero, half[:, 1], middle[:, 1]], 1).view(-1, 2, 3)
