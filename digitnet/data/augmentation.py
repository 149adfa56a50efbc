"""Augmentation: random affine and elastic deformations of whole batches."""

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from digitnet.data.transform import RandomTransform
from digitnet.errors import ConfigError


@final
class Augmentation(RandomTransform):
    """Rotate, scale, shear, translate and elastically deform each image at random.

    The magnitudes were chosen on the validation images. The elastic deformation is from P. Simard et al., "Best
    Practices for Convolutional Neural Networks Applied to Visual Document Analysis" (2003).

    Args:
        rotation: Maximum rotation in either direction, in degrees.
        scale: Maximum absolute natural logarithm of the scale factor; 0.1 means 0.90 to 1.11.
        aspect_ratio: Maximum absolute natural logarithm of the horizontal stretch, the inverse of the vertical one.
        shear: Maximum horizontal displacement per unit of height, in either direction.
        translation: Maximum translation along each axis, in pixels.
        displacement: Standard deviation of the elastic displacement along each axis, in pixels.
        control_points: Number of control points of the elastic deformation along each axis. Between them, the
            displacement is interpolated.

    Raises:
        ConfigError: If a magnitude is negative, or there is no control point.
    """

    def __init__(
        self,
        rotation: float = 10.0,
        scale: float = 0.10,
        aspect_ratio: float = 0.05,
        shear: float = 0.10,
        translation: float = 1.5,
        displacement: float = 0.6,
        control_points: int = 5,
    ) -> None:
        super().__init__()
        self.rotation = rotation
        self.scale = scale
        self.aspect_ratio = aspect_ratio
        self.shear = shear
        self.translation = translation
        self.displacement = displacement
        self.control_points = control_points
        self.check_magnitudes()
        if control_points < 1:
            raise ConfigError(f"control_points of Augmentation is {control_points}; it must be 1 or more")
        self._basis = torch.empty(0)

    def forward(self, ink: Tensor) -> Tensor:
        """Return the images, each deformed with independently sampled parameters.

        Args:
            ink: Stroke intensity, float32 (N, 1, H, W) in [0, 1]. Random numbers come from the generator of its device.

        Returns:
            Deformed ink of the same shape and range.
        """
        count, _, height, width = ink.shape
        parameters = self.sample_parameters(count, height, width, ink.device)
        if self._basis.shape[1:] != (height * width,) or self._basis.device != ink.device:
            self._basis = self._make_basis(height, width, ink.device)
        grid = (parameters @ self._basis).view(count, 2, height, width).permute(0, 2, 3, 1)
        return F.grid_sample(ink, grid, align_corners=False)

    def sample_parameters(self, count: int, height: int, width: int, device: torch.device) -> Tensor:
        """Sample the parameters of the deformations.

        Args:
            count: Number of images, N.
            height: Height of the images in pixels.
            width: Width of the images in pixels.
            device: Where to create the tensor.

        Returns:
            Coefficients of the x and y coordinates of the sampling grid, float32 (N, 2, 3 + control_points ** 2): an
            affine map, then the displacement of each control point, in the coordinates of `grid_sample`.
        """

        def uniform(limit: float) -> Tensor:
            return torch.empty(count, device=device).uniform_(-limit, limit)

        angle, shear = uniform(math.radians(self.rotation)), uniform(self.shear)
        scale, stretch = uniform(self.scale).exp(), uniform(self.aspect_ratio).exp()
        shift_x = uniform(self.translation * 2 / width)
        x = torch.stack([angle.cos() / scale * stretch, shear - angle.sin() / scale, shift_x], -1)
        shift_y = uniform(self.translation * 2 / height)
        y = torch.stack([angle.sin() / scale, angle.cos() / scale / stretch, shift_y], -1)
        points = torch.randn(count, 2, self.control_points**2, device=device) * (self.displacement * 2 / width)
        return torch.cat([torch.stack([x, y], 1), points], 2)

    def _make_basis(self, height: int, width: int, device: torch.device) -> Tensor:
        """Return the basis functions, (3 + control_points ** 2, H * W): x, y, 1, and a bump for each control point."""
        y, x = ((torch.arange(size, device=device) + 0.5) * 2 / size - 1 for size in (height, width))
        one = torch.ones(height, width, device=device)
        affine = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width), one])
        points = self.control_points
        bumps = torch.eye(points**2, device=device).view(-1, 1, points, points)
        bumps = F.interpolate(bumps, (height, width), mode="bicubic")
        return torch.cat([affine.flatten(1), bumps.flatten(1)])
