"""Images drawn anew as people draw, scan and photograph digits, for a whole batch at once, on the device it lies on.

What framing makes of thin strokes, noise, lines and dark edges is what the network has to read. So the pictures go
through the same `Framing` as a user's: on a pad of 28 to 48 pixels, where each effect changes some of them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from digitnet.model.framing import SIZE, Framing

SIDES = (28, 28, 28, 40, 48)  # pixels of the pad, one for each batch

_framing = Framing()


def degrade(ink: Tensor) -> Tensor:
    """Each image in a size and place, by a pen and on a ground of its own, spoilt, and framed again.

    Takes and returns ink, float (N, 1, 28, 28) in [0, 1]. Draws from torch's generators.
    """
    pad = Pad(len(ink), SIDES[int(torch.randint(len(SIDES), ()))], ink.device)
    picture = pad.spoil(pad.ground(pad.stray(pad.pen(pad.place(ink)))))
    framed, blank = _framing((picture * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
    # What noise has swallowed stays as it was.
    return torch.where(blank[:, None, None, None], ink, framed[:, None])


class Pad:
    """What is drawn at random for N pictures of side x side pixels, each float (N, 1, S, S) in [0, 1].

    `part` says how many of the pictures an effect changes, `uniform` how strongly.
    """

    def __init__(self, count: int, side: int, device: torch.device) -> None:
        self.count, self.side, self.device = count, side, device
        steps = (torch.arange(side, device=device) + 0.5) / side
        self.y, self.x = steps[:, None], steps[None, :]  # (S, 1) and (1, S), in [0, 1]

    def uniform(self, low: float, high: float) -> Tensor:
        """(N, 1, 1, 1), each drawn evenly."""
        return torch.empty(self.count, 1, 1, 1, device=self.device).uniform_(low, high)

    def part(self, chance: float) -> Tensor:
        """Which of the pictures: bool (N, 1, 1, 1), each true with this chance."""
        return self.uniform(0, 1) < chance

    def one_of(self, *chances: float) -> list[Tensor]:
        """Which of the pictures, with each of these chances: at most one holds for a picture. Two spoil it wholly."""
        drawn, stops = self.uniform(0, 1), [sum(chances[: place + 1]) for place in range(len(chances))]
        return [(drawn < stop) & (drawn >= stop - chance) for stop, chance in zip(stops, chances, strict=True)]

    def cloud(self, cells: int, mode: str) -> Tensor:
        """Smooth noise in [0, 1], of so many cells across."""
        noise = torch.rand(self.count, 1, cells, cells, device=self.device)
        return F.interpolate(noise, (self.side, self.side), mode=mode).clamp(0, 1)

    def place(self, ink: Tensor) -> Tensor:
        """Anywhere, from half its size to all of the pad, turned, slanted, stretched; some cut out to fill the pad."""
        angle = self.uniform(-0.42, 0.42) * self.part(0.7)
        slant, size = self.uniform(-0.35, 0.35) * self.part(0.5), self.uniform(max(0.55, 21 / self.side), 1.15)
        wide = (self.uniform(-0.1, 0.1) + self.uniform(0, 0.9) * self.part(0.2)).exp()
        room = (1 - 20 / 28 * size).clamp(min=0) + 0.05
        cos, sin = angle.cos() / size, angle.sin() / size
        shift_x, shift_y = self.uniform(-1, 1) * room, self.uniform(-1, 1) * room
        x = torch.cat([cos / wide, (slant * cos - sin) / wide, shift_x], 3)
        y = torch.cat([sin, slant * sin + cos, shift_y], 3)
        ways = torch.where(self.part(0.12)[:, 0], _box(ink), torch.cat([x, y], 2)[:, 0])  # (N, 2, 3)
        grid = F.affine_grid(ways, [self.count, 1, self.side, self.side], align_corners=False)
        return F.grid_sample(ink, grid, align_corners=False)

    def pen(self, strokes: Tensor) -> Tensor:
        """Thicker, thinner where that leaves enough of them, or the outline of slim ones; with soft or hard edges."""
        thick, thin = _grown(strokes), 1 - _grown(1 - strokes)
        outline = (thick - thin) * (thick - thin > 0.3)
        left = thin.sum((1, 2, 3), keepdim=True) / strokes.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
        slim = left < 0.55  # of a dot the outline would be a 0
        which = self.uniform(0, 1)
        strokes = torch.where(which < 0.15, thick, strokes)
        strokes = torch.where((which > 0.15) & (which < 0.3) & (left > 0.5), thin, strokes)
        strokes = torch.where((which > 0.9) & slim, outline, strokes)
        level, contrast = self.uniform(0.2, 0.6), self.uniform(2, 12)
        return torch.where(self.part(0.3), ((strokes - level) * contrast + 0.5).clamp(0, 1), strokes)

    def stray(self, strokes: Tensor) -> Tensor:
        """Strokes that do not belong: a straight, dotted or zigzag line, blots."""
        angle = self.uniform(0, math.pi) * self.part(0.5) + self.uniform(-0.25, 0.25)
        along = self.x * angle.cos() + self.y * angle.sin()
        across = self.y * angle.cos() - self.x * angle.sin()
        zigzag, often, steep = self.part(0.55), self.uniform(2.5, 6), self.uniform(0.4, 1.8)
        teeth = zigzag * steep * ((along * often) % 1 - 0.5).abs() / often
        middle = 0.5 * (angle.cos() - angle.sin()) + self.uniform(-0.45, 0.45)
        off = (across - middle + teeth).abs() / (1 + zigzag * steep**2).sqrt()  # how far from the line's middle
        line = (1.2 - off * self.side / self.uniform(0.5, 1.2)).clamp(0, 1)
        gaps = ((along * self.uniform(5, 16)) % 1 >= 0.5) & self.part(0.5) & ~zigzag
        line = line * ~gaps * self.uniform(0.6, 1) * self.part(0.32)
        blots = ((self.cloud(self.side // 2, "bilinear") - self.uniform(0.78, 0.97)) * 12).clamp(0, 1) * self.part(0.12)
        return torch.maximum(strokes, torch.maximum(line, blots))

    def ground(self, strokes: Tensor) -> Tensor:
        """On paper that is shaded, foggy, striped or ruled, darker at an edge or all around, or partly inverted."""
        shaded, foggy, striped, edged, inverted, pale = self.one_of(0.07, 0.07, 0.07, 0.14, 0.14, 0.06)
        angle = self.uniform(0, 2 * math.pi)
        slope = (self.x - 0.5) * angle.cos() + (self.y - 0.5) * angle.sin() + 0.7
        dark = self.uniform(0, 0.15) * self.part(0.5) + slope * self.uniform(0, 0.45) * shaded
        dark = dark + self.cloud(5, "bicubic") * self.uniform(0, 0.5) * foggy
        # Bands lie across or upright, some a little askew.
        upright = self.part(0.5)
        way = torch.where(upright, self.x, self.y) + (self.x - self.y) * self.uniform(-0.08, 0.08) * self.part(0.5)
        period, share = self.uniform(0.06, 0.4), self.uniform(0.08, 0.5)
        stripes = (way / period + self.uniform(0, 1)) % 1 < share
        dark = dark + stripes * self.uniform(0.1, 0.5) * striped
        edge = torch.where(self.part(0.5), way, 1 - way) - self.uniform(0, 0.12)
        left, right, top, bottom = (self.uniform(0, 0.1) for _ in range(4))
        sides = torch.minimum(self.x - left, 1 - right - self.x)
        rim = torch.minimum(sides, torch.minimum(self.y - top, 1 - bottom - self.y))
        beyond = torch.where(self.part(0.5), edge, rim) < 0
        dark = dark + beyond * self.uniform(0.3, 0.9) * edged
        weight = self.uniform(0.35, 1)
        weight = torch.where(self.part(0.5), weight, 1.0)
        picture = (dark + strokes * weight * (1 - dark).clamp(min=0.25)).clamp(0, 1)
        band = (way - self.uniform(0.3, 0.7)).abs() < self.uniform(0.15, 0.4)
        picture = torch.where(band & inverted, 1 - picture, picture)
        return (picture + self.uniform(0, 0.55) * pale).clamp(0, 1)

    def spoil(self, picture: Tensor) -> Tensor:
        """Blurred, as through glass, noisy, as in little light, with failed pixels; half are turned dark on light."""
        blurred, glassy, noisy, dim, failing = self.one_of(0.1, 0.08, 0.1, 0.1, 0.1)
        soft = _softened(picture)
        if self.side > 40:
            soft = _softened(soft)
        picture = torch.where(blurred, torch.lerp(soft, picture, self.uniform(0, 1)), picture)
        moved = torch.rand(2, self.count, self.side, self.side, device=self.device) * 2 - 1
        moved = moved * self.uniform(0.5, 1.6)[:, 0] * 2 / self.side
        grid = torch.stack([self.x * 2 - 1 + moved[0], self.y * 2 - 1 + moved[1]], -1)
        glass = F.grid_sample(soft, grid, align_corners=False, padding_mode="border")
        picture = torch.where(glassy, glass, picture)
        noise = torch.randn_like(picture)
        picture = picture + noise * self.uniform(0, 0.12) * noisy
        picture = picture + noise * picture.clamp(min=0).sqrt() * self.uniform(0, 0.6) * dim
        chance, failed = torch.rand_like(picture), self.uniform(0, 0.12) * failing
        picture = torch.where(chance < failed, 0.0, torch.where(chance > 1 - failed, 1.0, picture)).clamp(0, 1)
        return torch.where(self.part(0.5), 1 - picture, picture)


def _grown(ink: Tensor) -> Tensor:
    """The largest of the 3 x 3 pixels around each. Ten times as fast as max_pool2d, which is made for many channels."""
    padded = F.pad(ink, (1, 1, 1, 1))
    rows = torch.maximum(torch.maximum(padded[:, :, :-2], padded[:, :, 1:-1]), padded[:, :, 2:])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def _softened(picture: Tensor) -> Tensor:
    """A mean of the 5 x 5 pixels around each, the near ones counting more. Slices, for the reason given in `_grown`."""
    side, padded = picture.shape[-1], F.pad(picture, (2, 2, 2, 2), mode="replicate")
    weights = (1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9)
    rows = sum((weight * padded[:, :, k : k + side] for k, weight in enumerate(weights)), torch.zeros(()))
    return sum((weight * rows[..., k : k + side] for k, weight in enumerate(weights)), torch.zeros(()))


def _box(ink: Tensor) -> Tensor:
    """The map, (N, 2, 3), for affine_grid, that stretches the box of each picture's ink over the whole pad."""
    used = torch.cat([ink.amax(2), ink.amax(3)], 1) > 0.2  # (N, 2, 28): columns, rows
    place = torch.arange(SIZE, device=ink.device)
    start = torch.where(used, place, SIZE).amin(2)
    stop = torch.where(used, place + 1, 0).amax(2)
    half = ((stop - start) / SIZE).clamp(min=0.2)  # a thin stroke is not made a broad one
    middle = (start + stop) / SIZE - 1
    zero = torch.zeros_like(half[:, 0])
    return torch.stack([half[:, 0], zero, middle[:, 0], zero, half[:, 1], middle[:, 1]], 1).view(-1, 2, 3)
