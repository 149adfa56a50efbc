"""The base class of random transforms, whose magnitudes are constructor arguments and command-line options."""

import math
from typing import Any

from torch import nn

from digitnet.errors import ConfigError

Range = tuple[float, float]  # the limits of a uniform distribution


class RandomTransform(nn.Module):
    """A module with magnitudes: public attributes that are numbers or ranges.

    Subclasses are final, so that jsonargparse offers each magnitude as an option of its own.
    """

    def magnitudes(self) -> dict[str, Any]:
        """Return the magnitudes by name."""
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and type(value) in (int, float, tuple)
        }

    def check_magnitudes(self) -> None:
        """Check the magnitudes at the end of a constructor.

        Raises:
            ConfigError: If a number is negative or not finite, or the limits of a range are not in ascending order.
        """
        for name, value in self.magnitudes().items():
            limits = value if isinstance(value, tuple) else (0, value)
            if not 0 <= limits[0] <= limits[-1] < math.inf:
                expected = "two numbers, 0 or more and in ascending order" if limits is value else "0 or more"
                raise ConfigError(f"{name} of {type(self).__name__} is {value}; it must be {expected}")

    def extra_repr(self) -> str:
        """Return the magnitudes as text, for `repr`."""
        return ", ".join(f"{name}={value}" for name, value in self.magnitudes().items())
