import pytest

from digitnet.data.transform import RandomTransform, Range
from digitnet.errors import ConfigError


class Transform(RandomTransform):
    """A transform with a magnitude of each kind."""

    FRACTIONS = (("first", "second"),)
    POSITIVE = ("size",)

    def __init__(self, size: float = 2.0, level: Range = (0.1, 0.5), first: float = 0.5, second: float = 0.5) -> None:
        super().__init__()
        self.size, self.level, self.first, self.second = size, level, first, second
        self.check_magnitudes()


def test_the_magnitudes_are_listed_and_shown():
    transform = Transform(size=3)
    assert transform.magnitudes() == {"size": 3, "level": (0.1, 0.5), "first": 0.5, "second": 0.5}
    assert repr(transform) == "Transform(size=3, level=(0.1, 0.5), first=0.5, second=0.5)"


@pytest.mark.parametrize(
    ("magnitudes", "message"),
    [
        ({"size": 0}, "size of Transform is 0; it must be above 0"),
        ({"size": float("inf")}, "size of Transform is inf; it must be 0 or more"),
        ({"level": (0.5, 0.1)}, "two numbers, 0 or more and in ascending order"),
        ({"level": (0.1, 0.2, 0.3)}, "two numbers"),
        ({"first": 0.6}, r"first \+ second of Transform is 1.1; it must be at most 1"),
    ],
)
def test_magnitudes_out_of_range_are_refused(magnitudes, message):
    with pytest.raises(ConfigError, match=message):
        Transform(**magnitudes)
