"""Framing: from an image of any size to the 28 x 28 pixels that the network classifies, as MNIST frames its digits.

It finds the ink, scales it to 20 pixels and centers it. Framing is part of the exported model, and training uses it for
synthetic and degraded images, so there is no second implementation. MNIST's rules are from its web page, and were
checked on its 70,000 images: the longer side of the ink is 20 pixels, its center of mass is at pixel 14, and the
brightest pixel is 254 or 255.
"""

import torch
from torch import Tensor, nn

from digitnet.contract import IMAGE_SIZE
from digitnet.model.strokes import MAX_GRAY, enlarge, find_strokes

BOX = 20  # pixels: the longer side of the ink
CENTER = 14  # the pixel at which the center of mass is placed
MIN_GAP = 12  # pixels without ink that separate specks from the digit; nearer ones occur in MNIST and are kept
MAX_SPECKS = 1 / 32  # fraction of the ink that may be specks; a power of two, so that comparisons are exact
MAX_POSITION = 2**20  # larger than any image

# Coefficients of gray level and opacity by number of channels: gray, RGB, RGBA. There are no images of 0 or 2 channels.
_UNUSED = ((0.0,) * 4, (0.0,) * 4)
_RGB = (1 / 3, 1 / 3, 1 / 3, 0.0)
MIXING = (_UNUSED, ((1.0, 0.0, 0.0, 0.0), _UNUSED[0]), _UNUSED, (_RGB, _UNUSED[0]), (_RGB, (0.0, 0.0, 0.0, 1 / 255)))
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
        gray = _to_gray(image)
        height, width = gray.shape[2], gray.shape[3]
        sign, level, noise = find_strokes(gray)
        contrast = sign * gray - enlarge(level, height, width)
        ink = contrast * (contrast > noise).float()  # (N, 1, H, W); torch.where would take twice as long
        position = torch.arange(1, height + width + 1, device=ink.device).float()  # where each pixel ends
        start, stop, center = _find_extent(_project(ink), position)
        scale, shift = _find_placement(start, stop, center)
        left, right = _sampling_windows(start, stop, scale, shift)
        weights = _overlap(left, right, position)  # (N, 2, 28, H + W)
        # Multiplying the large matrix from the right is twice as fast as from the left.
        framed = weights[:, :1, :, :height] @ (ink @ weights[:, 1:, :, :width].transpose(2, 3))
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
    mixing = torch.tensor(MIXING, device=image.device)[channels, :, :channels]  # (2, C)
    pixels = image.reshape(count, -1, channels).float().transpose(1, 2)  # (N, C, HW)
    mixed = mixing @ pixels
    gray = mixed[:, :1]  # by slices, since torch exports other functions as operators of opset 18
    opacity = mixed[:, 1:] + torch.tensor(_OPACITY_OFFSET, device=image.device)[channels]
    # Dark strokes get a white background, bright strokes a black one.
    dark = gray @ opacity.transpose(1, 2) < MAX_GRAY / 2 * opacity.sum(2, keepdim=True)
    background = MAX_GRAY * dark.float()
    # A third of a level at an opacity of n/255 is never halfway between two integers, so that every runtime rounds to
    # the same level.
    return ((gray - background) * opacity + background).round().reshape(-1, 1, height, width)


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
    padding = mass[:, :, :1] * torch.zeros(MIN_GAP, device=mass.device)
    sums = torch.cat([padding, mass], 2).cumsum(2)
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
