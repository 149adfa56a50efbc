"""Strokes and background: which gray levels of an image are ink.

The background is estimated on a coarse grid, so that it may vary across the image, as under a shadow. What reaches into
the image from its border, such as a thumb or the edge of a table, is no ink, nor is what lies far from all strokes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_GRAY = 255.0
MIN_CONTRAST = 16  # gray levels out of 255, below which an image is blank
BORDER_SAMPLES = 64  # pixels sampled along each side of the image to estimate the background
NOISE_QUARTILES = 9  # ink differs from the background by more than this many quartile distances of the border
GRID = 32  # cells along each side of the grid on which the background is estimated
WINDOW = 11  # cells: what is narrower may be a stroke
SURROUNDINGS = 15  # cells with which a cell is compared to find the polarity
MIN_SKEWNESS = 1e-3  # of dark strokes; larger than rounding errors, so that every runtime finds the same polarity
EVEN = 8  # gray levels by which an even background may differ
FILLED = 0.75  # fraction of the gray levels in the image that an estimated background cannot span
STEEP = 0.3  # of these gray levels, by which the edges of strokes differ from their surroundings
DARKEST = 24.0  # gray level of the darkest paper
FAINTEST = 1 / 4  # contrast of strokes as a fraction of the strongest; a power of two, so that comparisons are exact
NOISE_MEANS = 4  # strokes have more than this many times the mean contrast of what is fainter
MIN_CELLS = 2  # of a digit
EXCLUDED = 1024.0  # level of cells without strokes: higher than any gray level
_INNER_CELLS = F.pad(torch.full((GRID - 2, GRID - 2), EXCLUDED), (1, 1, 1, 1))


def find_strokes(gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what separates the strokes from the background.

    Args:
        gray: Gray levels, float32 (N, 1, H, W).

    Returns:
        The sign, 1 for bright strokes and -1 for dark ones, (N, 1, 1, 1); the gray level of the background times the
        sign in each cell, or EXCLUDED where there is no stroke, (N, 1, 32, 32); and the noise level, (N, 1, 1, 1).
    """
    cells = _average_cells(gray)
    border_sign, border_level, border_noise = _inspect_border(gray)
    difference = _subtract_surroundings(cells)
    sign = _find_polarity(difference)
    level = _open(sign * cells)
    # The border shows the background unless it differs from the inner part.
    inner = _INNER_CELLS.to(level.device)
    ring_high, ring_low = (level - inner).amax((2, 3), True), (level + inner).amin((2, 3), True)
    is_even = (ring_high - ring_low <= EVEN) & (abs(border_level - (ring_high + ring_low) / 2) <= EVEN)
    # In a tight crop of a thick digit, it follows the strokes, which have steep edges.
    span = cells.amax((2, 3), True) - cells.amin((2, 3), True)
    is_filled = level.amax((2, 3), True) - level.amin((2, 3), True) >= FILLED * span
    is_filled = is_filled & (MAX_GRAY * abs(difference).amax((2, 3), True) >= STEEP * span)
    by_border = ((is_even & (border_sign == sign)) | is_filled).float()
    sign = sign + by_border * (border_sign - sign)
    level = level + by_border * (border_level - level)
    # The contrast relative to the brightness does not depend on shadows.
    paper = (MAX_GRAY * (sign > 0).float() - level).clamp(min=DARKEST)
    contrast = (sign * cells - level).clamp(min=0) / paper
    strokes, strongest, removed = _select_cells(contrast)
    is_clean = by_border * (1 - removed) * (border_noise == 0).float()
    strokes = torch.maximum(F.max_pool2d(strokes, 3, 1, 1), is_clean)
    # Halfway between two gray levels, so that every runtime finds the same pixels.
    faintest = (FAINTEST * strongest * paper.amin((2, 3), True) + 1e-3).floor() + 0.5
    noise = faintest + by_border * (border_noise - faintest)
    return sign, EXCLUDED + strokes * (level - EXCLUDED), noise


def enlarge(level: Tensor, height: int, width: int) -> Tensor:
    """Return the level of each pixel by bilinear interpolation between the cells, (N, 1, H, W).

    The weights are multiples of 1/64 and the levels are integers, so that every runtime computes the same.
    """
    return _cell_weights(height, level.device) @ level @ _cell_weights(width, level.device).T


def _average_cells(gray: Tensor) -> Tensor:
    """Return the mean gray level in each of 32 x 32 cells, rounded, (N, 1, 32, 32)."""
    rows, columns = _cell_members(gray.shape[2], gray.device), _cell_members(gray.shape[3], gray.device)
    sums = rows @ (gray @ columns.T)  # integers below 2**24 in images of up to 8,000 pixels, and therefore exact
    return (sums / (rows.sum(1)[:, None] * columns.sum(1))).round()


def _cell_members(size: int, device: torch.device) -> Tensor:
    """Return which of `size` rows or columns belong to each cell, 0 or 1, float32 (32, size)."""
    position = torch.arange(size, device=device).float()
    start = (torch.arange(GRID, device=device).float() * size / GRID).floor()[:, None]
    stop = ((torch.arange(GRID, device=device).float() + 1) * size / GRID).floor()[:, None]
    stop = torch.maximum(stop, start + 1)  # cells of small images share pixels
    return ((position >= start) & (position < stop)).float()


def _subtract_surroundings(cells: Tensor) -> Tensor:
    """Return the difference of each cell from the mean of 15 x 15 cells around it, as a fraction of white."""
    index = torch.arange(GRID, device=cells.device)
    near = (abs(index - index[:, None]) <= SURROUNDINGS // 2).float()
    return (cells - near @ cells @ near / (near.sum(1)[:, None] * near.sum(1))) / MAX_GRAY


def _find_polarity(difference: Tensor) -> Tensor:
    """Return 1 if the strokes are brighter than their surroundings, else -1, (N, 1, 1, 1).

    Strokes differ more from their surroundings than the background does, which the third power emphasizes.
    """
    return 1 - 2 * ((difference * difference * difference).sum((2, 3), True) < -MIN_SKEWNESS).float()


def _open(level: Tensor) -> Tensor:
    """Return the morphological opening with a square of 11 x 11 cells: without what is bright and narrower."""
    return _dilate(-_dilate(-level))


def _dilate(level: Tensor) -> Tensor:
    """Return the maximum over squares of 11 x 11 cells."""
    rows = F.max_pool2d(level, (WINDOW, 1), 1, (WINDOW // 2, 0))
    return F.max_pool2d(rows, (1, WINDOW), 1, (0, WINDOW // 2))


def _select_cells(contrast: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cells with strokes, without what reaches into the image from its border.

    Args:
        contrast: Relative contrast of each cell, (N, 1, 32, 32).

    Returns:
        1 for the cells with strokes, (N, 1, 32, 32), the strongest contrast, and whether anything was removed, each
        (N, 1, 1, 1).
    """
    strongest = contrast.amax((2, 3), True)
    faint = (contrast < FAINTEST * strongest).float()
    noise = (contrast * faint).sum((2, 3), True) / faint.sum((2, 3), True).clamp(min=1)
    strokes = (contrast > torch.maximum(FAINTEST * strongest, NOISE_MEANS * noise)).float()
    intruders = F.max_pool2d(_reach_border(strokes), 3, 1, 1) * strokes
    grown = F.max_pool2d(intruders, 3, 1, 1) * strokes
    # If what reaches the border is connected to more, it is a part of the digit in a tight crop.
    is_separate = (grown - intruders).amax((2, 3), True) == 0
    others = strokes - intruders
    removed = (is_separate & (others.sum((2, 3), True) >= MIN_CELLS)).float() * intruders.amax((2, 3), True)
    return strokes - removed * intruders, strongest, removed


def _reach_border(strokes: Tensor) -> Tensor:
    """Return the cells from which a straight line of strokes leads to the border, 0 or 1, (N, 1, 32, 32)."""
    empty = 1 - strokes
    index = torch.arange(GRID, device=strokes.device)
    before = (index <= index[:, None]).float()
    gaps = [before @ empty, before.T @ empty, empty @ before.T, empty @ before]  # empty cells up to each border
    return (torch.minimum(torch.minimum(gaps[0], gaps[1]), torch.minimum(gaps[2], gaps[3])) == 0).float()


def _cell_weights(size: int, device: torch.device) -> Tensor:
    """Return the weight of each cell at each of `size` rows or columns, (size, 32)."""
    cell = (torch.arange(size, device=device).float() + 0.5) * (64 * GRID) / size
    cell = (cell.round() / 64 - 0.5).clamp(min=0, max=GRID - 1)[:, None]
    return (1 - abs(cell - torch.arange(GRID, device=device))).clamp(min=0)


def _inspect_border(gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the polarity, the background times the polarity, and the noise as the border shows them.

    Args:
        gray: Gray levels, float32 (N, 1, H, W).

    Returns:
        The sign, the level and the noise as in `find_strokes`, each (N, 1, 1, 1).
    """
    border = _sample_border(gray)
    high, background, low = _quartiles(border)
    darker = background - gray.amin((2, 3), keepdim=True)
    brighter = gray.amax((2, 3), keepdim=True) - background
    sign = 1 - 2 * (darker > brighter).float()  # arithmetic, since torch.where takes as long as three operations
    contrast = torch.maximum(darker, brighter)
    noise = _estimate_noise((border - background) * sign, torch.minimum(high - background, background - low), contrast)
    return sign, background * sign, noise


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
    # By slices, because the operator for splitting a tensor cannot be converted to older versions of ONNX.
    counts = (BORDER_SAMPLES, 2 * BORDER_SAMPLES, 3 * BORDER_SAMPLES)
    high, median, low = (largest[..., count - 1 : count] for count in counts)
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
