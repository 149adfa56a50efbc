"""From any picture to MNIST's 28 x 28: find the ink, scale it into 20 x 20 pixels, centre it.

The network reads only what is framed as MNIST framed its digits, so this is part of the exported file and training
draws through it too: there is no other implementation. MNIST's rules, from its page and checked on its 70,000 images:
the longest side of the ink is 20 pixels, its centre of mass lies on pixel 14, the brightest pixel is 254 or 255.
"""

import torch
from torch import Tensor, nn

SIZE = 28  # pixels, the side of what the network reads
BOX = 20  # pixels, the longest side of the ink
CENTRE = 14  # the pixel that the centre of mass falls on
BORDER_SAMPLES = 64  # pixels looked at on each side of the picture to learn what the ground is
NOISE_SPREADS = 9  # ink is what differs from the ground by more than this many quartile spreads of the border
LEAST_CONTRAST = 16  # grey levels of 255 below which a picture counts as blank

# By number of channels: what each adds to the grey level and to the opacity, and the opacity without a fourth.
_NONE = ((0.0,) * 4, (0.0,) * 4)
_RGB = (1 / 3, 1 / 3, 1 / 3, 0.0)
MIX = (_NONE, ((1.0, 0.0, 0.0, 0.0), _NONE[0]), _NONE, (_RGB, _NONE[0]), (_RGB, (0.0, 0.0, 0.0, 1 / 255)))
OPAQUE = (1.0, 1.0, 1.0, 1.0, 0.0)


class Framing(nn.Module):
    """Pictures, uint8 (N, H, W, C) of any size, to ink, float32 (N, 28, 28), and what is blank, bool (N,).

    C = 1 is grey, 3 RGB, 4 RGBA. Dark strokes on a light ground or light on dark; transparent pixels count as ground.
    Ink lies in [0, 1] with 1 = the strongest stroke; a blank picture has ink 0 everywhere. No step loops over the
    pictures or depends on their number, size or content, so that the whole exports as one graph. Grey levels stay
    whole numbers until they have been compared, so that every runtime finds the same ink.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth, noise = _depth(_grey(image))
        ink = depth * (depth > noise).float()  # (N, H, W); by where it would take twice as long
        # Whole numbers below 2**24, so exact. By product where summing over the outer axis would take longer.
        rows = ink.sum(2)  # (N, H)
        columns = (torch.ones(1, ink.shape[1], device=ink.device) @ ink)[:, 0]  # (N, W)
        mass = rows.sum(1, keepdim=True)  # (N, 1)
        # Of the y axis and the x axis, (N, 2, 1): first pixel with ink, the one behind the last, centre of mass.
        divisor = mass.clamp(min=1)  # nothing divides by 0, not even a blank picture
        extents = zip(_extent(rows, divisor), _extent(columns, divisor), strict=True)
        start, stop, centre = (torch.cat(pair, 1)[:, :, None] for pair in extents)
        left, right = _windows(start, stop, centre)
        squeeze_y = _overlaps(left[:, 0], right[:, 0], rows.shape[1])  # (N, 28, H)
        squeeze_x = _overlaps(left[:, 1], right[:, 1], columns.shape[1])  # (N, 28, W)
        framed = squeeze_y @ ink @ squeeze_x.transpose(1, 2)  # (N, 28, 28), up to a common factor
        # Thin strokes on a large picture come out faint: the strongest is 1 again.
        return framed / framed.amax((1, 2), keepdim=True).clamp(min=1e-6), mass[:, 0] == 0


def _grey(image: Tensor) -> Tensor:
    """Whole grey levels, float32 (N, H, W), of uint8 (N, H, W, C), transparency painted in."""
    count, height, width, channels = image.shape
    # Mixed by matrix product: reducing over the last axis, or slicing it, takes several times as long.
    mix = torch.tensor(MIX, device=image.device)[channels, :, :channels]  # (2, C)
    pixels = image.reshape(count, height * width, channels).float().transpose(1, 2)  # (N, C, HW)
    mixed = (mix @ pixels).reshape(count, 2, height, width)
    grey = mixed[:, 0].round()
    opacity = mixed[:, 1] + torch.tensor(OPAQUE, device=image.device)[channels]
    # Dark strokes get a white ground, light strokes a black one.
    dark = (grey * opacity).round().sum((1, 2)) * 2 < opacity.sum((1, 2)) * 255
    ground = 255 * dark.float()[:, None, None]
    # No level lies half way between two whole ones, so that rounding is the same in every runtime.
    return ((grey - ground) * opacity + ground).round()


def _depth(grey: Tensor) -> tuple[Tensor, Tensor]:
    """How far each pixel is from the ground towards the strokes, (N, H, W), and how much of that is noise, (N, 1, 1).

    In grey levels. The ground is the median of the border: over the whole picture it would be the strokes in a tight
    crop. In a picture with hardly any contrast all is noise.
    """
    height, width = grey.shape[1], grey.shape[2]
    middles = (torch.arange(BORDER_SAMPLES, device=grey.device) + 0.5) / BORDER_SAMPLES  # exact in float32
    rows, columns = (middles * height).long(), (middles * width).long()
    sides = [
        grey[:, 0].index_select(1, columns), grey[:, -1].index_select(1, columns),
        grey[:, :, 0].index_select(1, rows), grey[:, :, -1].index_select(1, rows),
    ]  # fmt: skip
    # Quartiles of the 256 samples: a sort of all would take longer, and as many steps again to export.
    border = torch.cat(sides, 1).topk(3 * BORDER_SAMPLES).values  # (N, 192), falling
    high, ground, low = (border[:, quarter * BORDER_SAMPLES - 1] for quarter in (1, 2, 3))
    darkest, lightest = grey.amin((1, 2)), grey.amax((1, 2))
    dark_strokes = ground > (darkest + lightest) / 2
    contrast = torch.where(dark_strokes, ground - darkest, lightest - ground)
    spread = torch.where(dark_strokes, high - ground, ground - low)
    sign = torch.where(dark_strokes, -1.0, 1.0)
    depth = (grey - ground[:, None, None]) * sign[:, None, None]
    noise = torch.minimum(NOISE_SPREADS * spread, contrast / 2)
    noise = torch.where(contrast < LEAST_CONTRAST, 255, noise)
    return depth, noise[:, None, None]


def _extent(mass: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel with ink, the one behind the last, and the centre of mass, each (N, 1), of ink summed to (N, L)."""
    place = torch.arange(mass.shape[1], device=mass.device).float()
    used = mass > 0
    first = torch.where(used, place, mass.shape[1]).amin(1, keepdim=True)
    stop = torch.where(used, place + 1, 0).amax(1, keepdim=True)
    centre = (mass * place).sum(1, keepdim=True) / total
    return first, stop, centre + 0.5  # edge coordinates: a pixel's middle is at its place + 0.5


def _windows(start: Tensor, stop: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Which stretch of the source makes up each of our pixels: its left and right end, (N, 2, 28), for both axes.

    A box filter, at least a source pixel wide: enlarging repeats pixels, shrinking averages them. MNIST moved its
    digits by whole pixels, so we do: to where the centre of mass falls on pixel 14, or the nearest place that cuts no
    ink off. The little amounts are larger than the rounding of the sums and divisions, so that a symmetric drawing,
    whose centre lies on the edge of two pixels, goes the same way in every runtime.
    """
    scale = (stop - start).amax(1, keepdim=True).clamp(min=1) / BOX  # source pixels in one of ours, (N, 1, 1)
    shift = (CENTRE + 1 + 1e-4 - (centre - start) / scale).floor()
    room = (SIZE + 1e-3 - (stop - start) / scale).floor()
    shift = torch.minimum(shift, room).clamp(min=0)
    reach = scale.clamp(min=1) / 2
    pixel = torch.arange(SIZE, device=start.device) + 0.5
    middle = start + (pixel - shift) * scale
    return torch.maximum(middle - reach, start), torch.minimum(middle + reach, stop)


def _overlaps(left: Tensor, right: Tensor, length: int) -> Tensor:
    """How much of each source pixel lies between left and right, each (N, 28): (N, 28, length)."""
    place = torch.arange(length, device=left.device).float()
    return (torch.minimum(right[:, :, None], place + 1) - torch.maximum(left[:, :, None], place)).clamp(min=0)
