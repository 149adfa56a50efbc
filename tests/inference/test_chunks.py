from pathlib import Path

import numpy as np
import pytest

from digitnet.inference.chunks import Chunk

ARRAY = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2, 1)
PATHS = [Path(f"{name}.png") for name in "abcde"]


@pytest.mark.parametrize("images", [ARRAY, PATHS], ids=["array", "paths"])
@pytest.mark.parametrize("count", [0, 2, 5])
def test_the_rest_of_a_chunk_has_the_same_image_for_each_name(images, count):
    whole = Chunk(list("abcde"), images)
    rest = whole.after(count)
    assert rest.names == list("abcde")[count:]
    assert len(rest.images) == len(rest.names)
    for name, image in zip(rest.names, rest.images, strict=True):
        assert np.array_equal(image, images["abcde".index(name)])
