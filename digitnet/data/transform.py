"""The base class of random transforms, whose magnitudes are constructor arguments and command-line options."""

import math
from typing import Any, ClassVar

from torch import nn

from digitnet.errors import ConfigError

Range = tuple[float, float]  # the limits of a uniform distribution


class RandomTransform(nn.Module):
    """A module with magnitudes: public attributes that are numbers or ranges.

    Subclasses are final, so that jsonargparse offers each magnitude as a separate option.

    Attributes:
        FRACTIONS: Groups of magnitudes that are fractions of the images. Those of a group exclude each other.
        POSITIVE: Magnitudes that must be above 0.
    """

    FRACTIONS: ClassVar[tuple[tuple[str, ...], ...]] = ()
    POSITIVE: ClassVar[tuple[str, ...]] = ()

    def magnitudes(self) -> dict[str, Any]:
        """Return the magnitudes.

        Returns:
            Numbers and ranges, named like the constructor arguments.
        """
        return {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and type(value) in (int, float, tuple)
        }

    def check_magnitudes(self) -> None:
        """Check the magnitudes at the end of a constructor.

        Raises:
            ConfigError: If a number is negative or not finite, the limits of a range are not in ascending order, or
                fractions are more than 1.
        """
        for name, value in self.magnitudes().items():
            limits = value if isinstance(value, tuple) else (0, value)
            if len(limits) != 2 or not 0 <= limits[0] <= limits[1] < math.inf:
                expected = "two numbers, 0 or more and in ascending order" if limits is value else "0 or more"
                self._refuse(name, expected)
        for name in self.POSITIVE:
            value = getattr(self, name)
            if not (value[0] if isinstance(value, tuple) else value):
                self._refuse(name, "above 0")
        for group in self.FRACTIONS:
            total = round(sum(getattr(self, name) for name in group), 9)
            if total > 1:
                self._refuse(" + ".join(group), "at most 1", total)

    def _refuse(self, name: str, expected: str, value: float | None = None) -> None:
        """Raise ConfigError for a magnitude."""
        value = getattr(self, name) if value is None else value
        raise ConfigError(f"{name} of {type(self).__name__} is {value}; it must be {expected}")

    def extra_repr(self) -> str:
        """Return the magnitudes, for `repr`.

        Returns:
            One line of text, for example "rotation=10.0, scale=0.1".
        """
        return ", ".join(f"{name}={value}" for name, value in self.magnitudes().items())
