"""Framing: from an image of any size to the 28 x 28 pixels that the network classifies, as MNIST frames its digits.

It finds the ink, scales it to 20 pixels and centers it. Framing is part of the exported model, and training uses it for
synthetic and degraded images, so there is no second implementation. MNIST's rules are from its web page, and were
checked on its 70,000 images: the longer side of the ink is 20 pixels, its center of mass is at pixel 14, and the
brightest pixel is 254 or 255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from digitnet.contract import IMAGE_SIZE

BOX = 20  # pixels: the longer side of the ink
CENTER = 14  # the pixel at which the center of mass is placed
BORDER_SAMPLES = 64  # pixels sampled along each side of the image to estimate the background
NOISE_QUARTILES = 9  # ink differs from the background by more than this many quartile distances of the border
MIN_GAP = 12  # pixels without ink that separate specks from the digit; nearer ones occur in MNIST and are kept
MAX_SPECKS = 1 / 32  # fraction of the ink that may be specks; a power of two, so that comparisons are exact
MAX_POSITION = 2**20  # larger than any image
MIN_CONTRAST = 16  # gray levels out of 255, below which an image is blank
MAX_GRAY = 255.0

# Coefficients of gray level and opacity by number of channels: gray, RGB, RGBA. There are no images of 0 or 2 channels.
_UNUSED = ((0.0,) * 4, (0.0,) * 4)
_RGB = (1 / 3, 1 / 3, 1 / 3, 0.0)
_MIXING = (_UNUSED, ((1.0, 0.0, 0.0, 0.0), _UNUSED[0]), _UNUSED, (_RGB, _UNUSED[0]), (_RGB, (0.0, 0.0, 0.0, 1 / 255)))
_OPACITY_OFFSET = (1.0, 1.0, 1.0, 1.0, 0.0)


class Framing(nn.Module):
    """Find the digit in images and frame it as MNIST does.

    Strokes may be dark on a bright background or bright on dark; transparent pixels count as background. No operation
    loops over images or depends on their number, size or content, so that everything is exported as one graph. Gray
    levels are integers until they have been compared, so that every runtime finds the same ink.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return framed digits.

        Args:
            image: Uint8 (N, H, W, C) of any size, with C = 1 (gray), 3 (RGB) or 4 (RGBA).

        Returns:
            Ink, float32 (N, 28, 28) in [0, 1], where 1 is the strongest stroke, and which images are blank, bool (N,).
            Blank images have no ink.
        """
        framed, blank, _, _ = self.locate(image)
        return framed, blank

    def locate(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return framed digits and where they were found.

        Args:
            image: Uint8 (N, H, W, C), as in `forward`.

        Returns:
            Ink and which images are blank, as in `forward`; the box around the digit and the square that the 28 x 28
            pixels show, each float32 (N, 4): top, left, bottom and right in pixels of the image. The square may extend
            beyond the image. Both are undefined for a blank image.
        """
        contrast, noise = _subtract_background(_to_gray(image))
        ink = contrast * (contrast > noise).float()  # (N, 1, H, W); torch.where would take twice as long
        height, width = ink.shape[2], ink.shape[3]
        position = torch.arange(1, height + width + 1, device=ink.device).float()  # where each pixel ends
        start, stop, center = _find_extent(_project(ink), position)
        scale, shift = _find_placement(start, stop, center)
        left, right = _sampling_windows(start, stop, scale, shift)
        weights = _overlap(left, right, position)  # (N, 2, 28, H + W)
        framed = weights[:, :1, :, :height] @ ink @ weights[:, 1:, :, :width].transpose(2, 3)
        # Thin strokes of a large image become faint: normalize the strongest to 1.
        strongest = framed.amax((2, 3), keepdim=True)
        framed, blank = (framed / strongest.clamp(min=1e-6))[:, 0], strongest.flatten() == 0
        corner = start - shift * scale
        box, square = torch.cat([start, stop], 1), torch.cat([corner, corner + IMAGE_SIZE * scale], 1)
        return framed, blank, box.flatten(1), square.flatten(1)


def _to_gray(image: Tensor) -> Tensor:
    """Return integer gray levels, float32 (N, 1, H, W), with transparent pixels replaced by a background."""
    count, height, width, channels = image.shape
    # By matrix product, because reducing or slicing the last axis takes several times as long.
    mixing = torch.tensor(_MIXING, device=image.device)[channels, :, :channels]  # (2, C)
    pixels = image.reshape(count, -1, channels).float().transpose(1, 2)  # (N, C, HW)
    gray, opacity = (mixing @ pixels).reshape(-1, 2, height, width).split(1, 1)
    opacity = opacity + torch.tensor(_OPACITY_OFFSET, device=image.device)[channels]
    # Dark strokes get a white background, bright strokes a black one.
    dark = (gray * opacity).round().sum((2, 3), keepdim=True) < MAX_GRAY / 2 * opacity.sum((2, 3), keepdim=True)
    background = MAX_GRAY * dark.float()
    # A third of a level at an opacity of n/255 is never halfway between two integers, so that every runtime rounds to
    # the same level.
    return ((gray - background) * opacity + background).round()


def _subtract_background(gray: Tensor) -> tuple[Tensor, Tensor]:
    """Return the contrast of each pixel with the background, and the noise level below which it is not ink.

    Args:
        gray: Gray levels, float32 (N, 1, H, W).

    Returns:
        The contrast with the background in gray levels, positive for strokes, (N, 1, H, W), and the noise,
        (N, 1, 1, 1).
    """
    border = _sample_border(gray)
    high, background, low = _quartiles(border)
    darker = background - gray.amin((2, 3), keepdim=True)
    brighter = gray.amax((2, 3), keepdim=True) - background
    sign = 1 - 2 * (darker > brighter).float()  # arithmetic, since torch.where takes as long as three operations
    contrast = torch.maximum(darker, brighter)
    noise = _estimate_noise((border - background) * sign, torch.minimum(high - background, background - low), contrast)
    return (gray - background) * sign, noise


def _sample_border(gray: Tensor) -> Tensor:
    """Return evenly spaced pixels of the top, bottom, left and right edge, (N, 1, 4, 64)."""
    height, width = gray.shape[2], gray.shape[3]
    fractions = (torch.arange(BORDER_SAMPLES, device=gray.device) + 0.5) / BORDER_SAMPLES  # exact in float32
    rows, columns = (fractions * height).long(), (fractions * width).long()
    ends = torch.tensor([0, 1], device=gray.device)
    horizontal = gray.index_select(2, ends * (height - 1)).index_select(3, columns)  # (N, 1, 2, 64)
    vertical = gray.index_select(3, ends * (width - 1)).index_select(2, rows).transpose(2, 3)
    return torch.cat([horizontal, vertical], 2)


def _quartiles(border: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the upper quartile, the median and the lower quartile of the border, each (N, 1, 1, 1).

    The median of the border is the background. In a tight crop, the median of the whole image would be the gray level
    of the strokes.
    """
    # Sorting all samples would take longer and need twice as many operations in the exported graph.
    largest = border.reshape(-1, 1, 1, 4 * BORDER_SAMPLES).topk(3 * BORDER_SAMPLES).values
    high, median, low = largest[..., BORDER_SAMPLES - 1 :: BORDER_SAMPLES].split(1, 3)
    return high, median, low


def _estimate_noise(border: Tensor, quartile: Tensor, contrast: Tensor) -> Tensor:
    """Return the noise level, (N, 1, 1, 1).

    Args:
        border: Difference of the border from the background, (N, 1, 4, 64).
        quartile: Distance of the nearer quartile of the border from the background, (N, 1, 1, 1).
        contrast: Largest difference from the background in the image, (N, 1, 1, 1).
    """
    # Contrast at two opposite edges comes from a line or a pattern on the paper; strong contrast comes from a stroke.
    edges = border.amax(3).reshape(-1, 2, 2, 1)  # the largest of top and bottom, left and right
    lines = edges.amin(2, keepdim=True).amax(1, keepdim=True)
    lines = lines * (lines < contrast / 2).float()
    noise = torch.minimum(torch.maximum(NOISE_QUARTILES * quartile, lines), contrast / 2)
    return noise + MAX_GRAY * (contrast < MIN_CONTRAST).float()  # an image with hardly any contrast is blank


def _project(ink: Tensor) -> Tensor:
    """Return the ink in each row and in each column, (N, 2, H + W).

    Both axes are padded to the same length, so that all further steps treat them together: rows are followed by W
    zeros, columns by H zeros. The sums are integers below 2**24, and therefore exact.
    """
    height, width = ink.shape[2], ink.shape[3]
    rows = ink.sum(3, keepdim=True).transpose(2, 3)  # (N, 1, 1, H)
    columns = torch.ones(1, height, device=ink.device) @ ink  # (N, 1, 1, W); ten times as fast as a sum over that axis
    return torch.cat([rows, 0 * columns, columns, 0 * rows], 3).reshape(-1, 2, height + width)


def _last_position(mask: Tensor, position: Tensor) -> Tensor:
    """Return the last position at which `mask`, (N, 2, L), is true, as (N, 2, 1), or 0."""
    return (mask.float() * position).amax(2, keepdim=True)


def _first_position(mask: Tensor, position: Tensor) -> Tensor:
    """Return the first position at which `mask`, (N, 2, L), is true, as (N, 2, 1), or MAX_POSITION."""
    return MAX_POSITION - _last_position(mask, MAX_POSITION - position)


def _find_extent(mass: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where the digit starts and stops and its center of mass, without specks.

    Args:
        mass: Ink at each position along both axes, (N, 2, L).
        position: Where each pixel ends, (L,).

    Returns:
        Start, stop and center of mass in pixels, each (N, 2, 1).
    """
    mass = _remove_specks(mass, position)
    used = mass > 0
    # No division by 0, not even for a blank image.
    center = (mass * position).sum(2, keepdim=True) / mass.sum(2, keepdim=True).clamp(min=1)
    return _first_position(used, position) - 1, _last_position(used, position), center - 0.5


def _remove_specks(mass: Tensor, position: Tensor) -> Tensor:
    """Return the mass, (N, 2, L), without up to 1/32 of the ink that a wide gap separates from the rest at each end."""
    sums = F.pad(mass, (MIN_GAP, 0)).cumsum(2)
    before = sums[:, :, MIN_GAP:]
    gap = before == sums[:, :, : position.shape[0]]  # this position and those before it have no ink
    total = mass.sum(2, keepdim=True)
    begin = _last_position(gap & (before <= MAX_SPECKS * total), position)
    end = _first_position(gap & (total - before <= MAX_SPECKS * total), position)
    return mass * ((position > begin) & (position < end)).float()


def _find_placement(start: Tensor, stop: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Return the size of the framed digit's pixels and its position.

    As in MNIST, the digit moves by whole pixels, to where its center of mass is at pixel 14 or, if that would cut off
    ink, to the nearest position that does not.

    Args:
        start: First pixel of the digit along each axis, (N, 2, 1).
        stop: End of its last pixel, (N, 2, 1).
        center: Its center of mass, (N, 2, 1).

    Returns:
        Image pixels per framed pixel, (N, 1, 1), and the first framed pixel of the digit, (N, 2, 1).
    """
    scale = (stop - start).amax(1, keepdim=True).clamp(min=1) / BOX
    # The center of a symmetric digit may be between two pixels. The small offsets are larger than rounding errors, so
    # that every runtime chooses the same pixel.
    shift = CENTER + 1 + 1e-4 - (center - start) / scale
    max_shift = IMAGE_SIZE + 1e-3 - (stop - start) / scale
    return scale, torch.minimum(shift, max_shift).floor().clamp(min=0)


def _sampling_windows(start: Tensor, stop: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return which interval of the image each pixel of the framed digit averages.

    The filter is a box at least one pixel wide: enlarging repeats pixels, and reducing averages them.

    Args:
        start: First pixel of the digit along each axis, (N, 2, 1).
        stop: End of its last pixel, (N, 2, 1).
        scale: Image pixels per framed pixel, (N, 1, 1).
        shift: First framed pixel of the digit, (N, 2, 1).

    Returns:
        Left and right ends of the intervals, each (N, 2, 28).
    """
    half_width = scale.clamp(min=1) / 2
    pixel = torch.arange(IMAGE_SIZE, device=start.device) + 0.5
    middle = start + (pixel - shift) * scale
    return torch.maximum(middle - half_width, start), torch.minimum(middle + half_width, stop)


def _overlap(left: Tensor, right: Tensor, position: Tensor) -> Tensor:
    """Return the length of each image pixel within each interval, (N, 2, 28, L); the ends are (N, 2, 28) each."""
    return (torch.minimum(right[..., None], position) - torch.maximum(left[..., None], position - 1)).clamp(min=0)
