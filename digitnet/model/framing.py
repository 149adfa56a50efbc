"""From any picture to MNIST's 28 x 28: find the ink, scale it into 20 x 20 pixels, centre it.

The network reads only what is framed as MNIST framed its digits, so this is part of the exported file and training
draws through it too: there is no other implementation. MNIST's rules, from its page and checked on its 70,000 images:
the longest side of the ink is 20 pixels, its centre of mass lies on pixel 14, the brightest pixel is 254 or 255.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 28  # pixels, the side of what the network reads
BOX = 20  # pixels, the longest side of the ink
CENTRE = 14  # the pixel that the centre of mass falls on
BORDER_SAMPLES = 64  # pixels looked at on each side of the picture to learn what the ground is
NOISE_SPREADS = 9  # ink is what differs from the ground by more than this many quartile spreads of the border
GAP = 12  # pixels without ink that part the digit from specks; MNIST has nearer ones, and they are to stay
SPECKS = 1 / 32  # part of the ink that may be specks; a power of two, so that comparing is exact
FAR = 2**20  # pixels, beyond every picture
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
        ink = depth * (depth > noise).float()  # (N, 1, H, W); by where it would take twice as long
        height, width = ink.shape[2], ink.shape[3]
        # Whole numbers below 2**24, so exact. By product where summing over the outer axis would take ten times longer.
        rows = ink.sum(3, keepdim=True).transpose(2, 3)  # (N, 1, 1, H)
        columns = torch.ones(1, height, device=ink.device) @ ink  # (N, 1, 1, W)
        # Both axes as one, so that what follows is written once: each followed by as many zeros as the other is long.
        mass = torch.cat([rows, 0 * columns, columns, 0 * rows], 3).reshape(-1, 2, height + width)
        place = torch.arange(1, height + width + 1, device=ink.device).float()  # where each pixel ends
        start, stop, centre = _extent(mass, place)
        left, right = _windows(start, stop, centre)
        overlap = _overlaps(left, right, place)  # (N, 2, 28, H + W)
        framed = overlap[:, :1, :, :height] @ ink @ overlap[:, 1:, :, :width].transpose(2, 3)  # up to a common factor
        # Thin strokes on a large picture come out faint: the strongest is 1 again.
        strongest = framed.amax((2, 3), keepdim=True)
        return (framed / strongest.clamp(min=1e-6))[:, 0], strongest.flatten() == 0


def _grey(image: Tensor) -> Tensor:
    """Whole grey levels, float32 (N, 1, H, W), of uint8 (N, H, W, C), transparency painted in."""
    count, height, width, channels = image.shape
    # Mixed by matrix product: reducing over the last axis, or slicing it, takes several times as long.
    mix = torch.tensor(MIX, device=image.device)[channels, :, :channels]  # (2, C)
    pixels = image.reshape(count, -1, channels).float().transpose(1, 2)  # (N, C, HW)
    grey, opacity = (mix @ pixels).reshape(-1, 2, height, width).split(1, 1)
    opacity = opacity + torch.tensor(OPAQUE, device=image.device)[channels]
    # Dark strokes get a white ground, light strokes a black one.
    dark = (grey * opacity).round().sum((2, 3), keepdim=True) < 127.5 * opacity.sum((2, 3), keepdim=True)
    ground = 255 * dark.float()
    # A third of a level at a 255th of opacity never lies half way between two whole ones, so that rounding is the same
    # in every runtime.
    return ((grey - ground) * opacity + ground).round()


def _depth(grey: Tensor) -> tuple[Tensor, Tensor]:
    """How far each pixel is from the ground towards the strokes, (N, 1, H, W), and how much of that is noise,
    (N, 1, 1, 1), in grey levels.

    The ground is the median of the border: over the whole picture it would be the strokes in a tight crop. What else
    two opposite sides show is lines or a pattern on the paper, unless it is strong: a tight crop has strokes there. In
    a picture with hardly any contrast all is noise.
    """
    height, width = grey.shape[2], grey.shape[3]
    middles = (torch.arange(BORDER_SAMPLES, device=grey.device) + 0.5) / BORDER_SAMPLES  # exact in float32
    rows, columns = (middles * height).long(), (middles * width).long()
    ends = torch.tensor([0, 1], device=grey.device)
    across = grey.index_select(2, ends * (height - 1)).index_select(3, columns)  # (N, 1, 2, 64)
    upright = grey.index_select(3, ends * (width - 1)).index_select(2, rows).transpose(2, 3)
    border = torch.cat([across, upright], 2)  # (N, 1, 4, 64)
    # Quartiles of the samples: a sort of all would take longer, and as many steps again to export.
    upper = border.reshape(-1, 1, 1, 4 * BORDER_SAMPLES).topk(3 * BORDER_SAMPLES).values  # falling
    high, ground, low = upper[..., BORDER_SAMPLES - 1 :: BORDER_SAMPLES].split(1, 3)  # (N, 1, 1, 1)
    darker, lighter = ground - grey.amin((2, 3), keepdim=True), grey.amax((2, 3), keepdim=True) - ground
    sign = 1 - 2 * (darker > lighter).float()  # arithmetic here and below: where takes as long as three steps
    contrast = torch.maximum(darker, lighter)
    sides = ((border - ground) * sign).amax(3).reshape(-1, 2, 2, 1)  # the deepest of top, bottom, left and right
    lines = sides.amin(2, keepdim=True).amax(1, keepdim=True)
    lines = lines * (lines < contrast / 2).float()
    noise = torch.maximum(NOISE_SPREADS * torch.minimum(high - ground, ground - low), lines)
    noise = torch.minimum(noise, contrast / 2) + 255 * (contrast < LEAST_CONTRAST).float()
    return (grey - ground) * sign, noise


def _last(chosen: Tensor, place: Tensor) -> Tensor:
    """The largest place of the chosen ones, (N, 2, 1); 0 where there is none."""
    return (chosen.float() * place).amax(2, keepdim=True)


def _first(chosen: Tensor, place: Tensor) -> Tensor:
    """The smallest place of the chosen ones, (N, 2, 1); FAR where there is none."""
    return FAR - _last(chosen, FAR - place)


def _extent(mass: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where the digit begins, ends, and has its centre of mass, each (N, 2, 1), from the ink in each place, (N, 2, L).

    Specks are left out: up to 1/32 of the ink, at either end of an axis, that a wide gap parts from the rest.
    """
    sums = F.pad(mass, (GAP, 0)).cumsum(2)
    before = sums[:, :, GAP:]
    gap = before == sums[:, :, : place.shape[0]]  # the place and those before it are empty
    total = mass.sum(2, keepdim=True)
    begin = _last(gap & (before <= SPECKS * total), place)
    end = _first(gap & (total - before <= SPECKS * total), place)
    mass = mass * ((place > begin) & (place < end)).float()
    used = mass > 0
    # Nothing divides by 0, not even a blank picture.
    centre = (mass * place).sum(2, keepdim=True) / mass.sum(2, keepdim=True).clamp(min=1)
    return _first(used, place) - 1, _last(used, place), centre - 0.5


def _windows(start: Tensor, stop: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Which stretch of the source makes up each of our pixels: its left and right end, (N, 2, 28), for both axes.

    A box filter, at least a source pixel wide: enlarging repeats pixels, shrinking averages them. MNIST moved its
    digits by whole pixels, so we do: to where the centre of mass falls on pixel 14, or the nearest place that cuts no
    ink off. The little amounts are larger than the rounding of the sums and divisions, so that a symmetric drawing,
    whose centre lies on the edge of two pixels, goes the same way in every runtime.
    """
    scale = (stop - start).amax(1, keepdim=True).clamp(min=1) / BOX  # source pixels in one of ours, (N, 1, 1)
    shift = CENTRE + 1 + 1e-4 - (centre - start) / scale
    room = SIZE + 1e-3 - (stop - start) / scale
    shift = torch.minimum(shift, room).floor().clamp(min=0)
    reach = scale.clamp(min=1) / 2
    pixel = torch.arange(SIZE, device=start.device) + 0.5
    middle = start + (pixel - shift) * scale
    return torch.maximum(middle - reach, start), torch.minimum(middle + reach, stop)


def _overlaps(left: Tensor, right: Tensor, place: Tensor) -> Tensor:
    """How much of each source pixel lies between left and right, each (N, 2, 28): (N, 2, 28, H + W)."""
    return (torch.minimum(right[..., None], place) - torch.maximum(left[..., None], place - 1)).clamp(min=0)
