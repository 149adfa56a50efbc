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


class Framing(nn.Module):
    """Pictures, uint8 (N, H, W, C) of any size, to ink, float32 (N, 28, 28), and what is blank, bool (N,).

    C = 1 is grey, 3 RGB, 4 RGBA. Dark strokes on a light ground or light on dark; transparent pixels count as ground.
    Ink lies in [0, 1] with 1 = the strongest stroke; a blank picture has ink 0 everywhere. No step loops over the
    pictures or depends on their number, size or content, so that the whole exports as one graph. Grey levels stay
    whole numbers until they have been compared, and sums of them are exact, so that every runtime finds the same ink.
    """

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth, noise, readable = _depth(_grey(image))
        ink = depth * (depth > noise).float()  # (N, H, W); by where it would take twice as long
        rows, columns = ink.sum(2), ink.sum(1)  # (N, H), (N, W): whole numbers below 2**24, so exact
        blank = ~readable | (rows.amax(1) == 0)
        top, bottom, middle_y = _extent(rows)
        left, right, middle_x = _extent(columns)
        scale = torch.maximum(bottom - top, right - left).clamp(min=1) / BOX  # source pixels in one of ours
        squeeze_y = _resampling(rows.shape[1], top, bottom, middle_y, scale)  # (N, 28, H)
        squeeze_x = _resampling(columns.shape[1], left, right, middle_x, scale)  # (N, 28, W)
        framed = squeeze_y @ ink @ squeeze_x.transpose(1, 2)  # (N, 28, 28)
        # Thin strokes on a large picture come out faint: the strongest is 1 again.
        framed = framed / framed.amax((1, 2), keepdim=True).clamp(min=1e-6)
        return framed * ~blank[:, None, None], blank


def _grey(image: Tensor) -> Tensor:
    """Whole grey levels, float32 (N, H, W), of uint8 (N, H, W, C), transparency painted in."""
    count, height, width, channels = image.shape
    channel = torch.arange(channels, device=image.device)
    colours = (channel < 3).float()
    is_alpha = (channel == 3).float()  # all 0 where there is no fourth channel
    # Mixed by matrix product: reducing over the last axis, or slicing it, takes several times as long.
    mix = torch.stack([colours / colours.sum(), is_alpha])  # (2, C)
    mixed = (mix @ image.reshape(count, height * width, channels).float().transpose(1, 2)).reshape(
        count, 2, height, width
    )
    grey = mixed[:, 0].round()
    alpha = mixed[:, 1] + 255 * (1 - is_alpha.sum())
    over = (alpha * grey / 255).round()
    # Dark strokes get a white ground, light strokes a black one.
    dark = over.sum((1, 2)) * 2 < alpha.sum((1, 2))
    return over + (255 - alpha) * dark.float()[:, None, None]


def _depth(grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each pixel is from the ground towards the strokes, how much of that is noise, and what is not blank.

    Grey levels: (N, H, W) and (N, 1, 1); and bool (N,). The ground is the median of the border: over the whole picture
    it would be the strokes in a tight crop.
    """
    height, width = grey.shape[1], grey.shape[2]
    odd = 2 * torch.arange(BORDER_SAMPLES, device=grey.device) + 1
    rows = torch.div(odd * height, 2 * BORDER_SAMPLES, rounding_mode="trunc")
    columns = torch.div(odd * width, 2 * BORDER_SAMPLES, rounding_mode="trunc")
    sides = [
        grey[:, 0].index_select(1, columns), grey[:, -1].index_select(1, columns),
        grey[:, :, 0].index_select(1, rows), grey[:, :, -1].index_select(1, rows),
    ]  # fmt: skip
    border = torch.cat(sides, 1).sort(1).values  # (N, 256)
    low, ground, high = border[:, BORDER_SAMPLES], border[:, 2 * BORDER_SAMPLES], border[:, 3 * BORDER_SAMPLES]
    darkest, lightest = grey.amin((1, 2)), grey.amax((1, 2))
    dark_strokes = ground > (darkest + lightest) / 2
    contrast = torch.where(dark_strokes, ground - darkest, lightest - ground)
    spread = torch.where(dark_strokes, high - ground, ground - low)
    sign = 1 - 2 * dark_strokes.float()
    depth = (grey - ground[:, None, None]) * sign[:, None, None]
    noise = torch.minimum(NOISE_SPREADS * spread, contrast / 2)
    return depth, noise[:, None, None], contrast >= LEAST_CONTRAST


def _extent(mass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel with ink, the one behind the last, and the centre of mass, each (N, 1), of ink summed to (N, L)."""
    length = mass.shape[1]
    place = torch.arange(length, device=mass.device).float()
    used = mass > 0
    first = torch.where(used, place, length).amin(1, keepdim=True)
    stop = torch.where(used, place + 1, 0).amax(1, keepdim=True)
    # Edge coordinates: a pixel's middle is at its place + 0.5. In float64, for the sums to stay exact.
    weight = mass.double()
    centre = (weight * (place + 0.5)).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
    return first, stop, centre.float()


def _resampling(length: int, start: Tensor, stop: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Weights (N, 28, L) with which source pixels make up ours along one axis: a box filter, at least a pixel wide.

    MNIST moved its digits by whole pixels, so we do: the one where the centre of mass falls on pixel 14, or the
    nearest that cuts no ink off. The little amounts make up for the rounding of the divisions.
    """
    shift = (CENTRE + 0.5 - (centre - start) / scale + 0.5 + 1e-4).floor()
    room = (SIZE - (stop - start) / scale + 1e-3).floor().clamp(min=0)
    shift = torch.minimum(shift.clamp(min=0), room)
    width = scale.clamp(min=1)  # enlarging repeats pixels, shrinking averages them
    pixel = torch.arange(SIZE, device=start.device) + 0.5
    middle = start + (pixel - shift) * scale  # (N, 28)
    left = torch.maximum(middle - width / 2, start)[:, :, None]
    right = torch.minimum(middle + width / 2, stop)[:, :, None]
    source = torch.arange(length, device=start.device)
    return (torch.minimum(right, source + 1) - torch.maximum(left, source)).clamp(min=0) / width[:, :, None]
