"""Pictures by the million: blocks of them decoded, framed and read in several threads, and the rows in order."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from digitnet.classifier import DigitClassifier, Picture, Prediction, to_array
from digitnet.errors import PictureError
from digitnet.sources import Block

DECODED_BYTES = 2**24  # of pictures that wait in one thread to be read with others of their size
AT_ONCE_BYTES = 2**22  # of pictures that go through the network together


@dataclass
class Rows:
    """What the pictures of a block were read as.

    labels: int32 (N,), -1 where there is no digit. probabilities: float32 (N, 10). framed: float32 (N, 28, 28).
    errors: by place, why a picture could not be read; its label is -1 and its probabilities are 0.
    """

    names: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    framed: np.ndarray
    errors: dict[int, PictureError] = field(default_factory=dict)

    def prediction(self, place: int) -> Prediction:
        label, probabilities = int(self.labels[place]), self.probabilities[place]
        return Prediction(label if label >= 0 else None, probabilities, float(probabilities.max()), self.framed[place])


def all_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_blocks(classifier: DigitClassifier, blocks: Iterable[Block], workers: int) -> Iterator[Rows]:
    """The rows of each block, in order. Twice as many blocks as workers are under way, however many there are.

    Decoding and the network both leave Python's lock, so threads keep the cores busy.
    """
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque[Future[Rows]] = deque()
        try:
            for block in blocks:
                under_way.append(pool.submit(read_block, classifier, block))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:  # whoever reads the rows has seen enough
            for future in under_way:
                future.cancel()


def read_block(classifier: DigitClassifier, block: Block) -> Rows:
    """The rows of one block; pictures of one size go through the network together."""
    count = len(block.names)
    rows = Rows(
        block.names,
        np.full(count, -1, np.int32),
        np.zeros((count, 10), np.float32),
        np.zeros((count, 28, 28), np.float32),
    )

    def read(places: slice | list[int], images: np.ndarray) -> None:
        rows.probabilities[places], rows.labels[places], rows.framed[places] = classifier.run(images)

    if isinstance(block.pictures, np.ndarray):
        step = max(1, AT_ONCE_BYTES // block.pictures[0].size)
        for start in range(0, count, step):
            read(slice(start, start + step), block.pictures[start : start + step])
        return rows

    waiting: dict[tuple[int, ...], list[int]] = {}
    arrays: dict[int, np.ndarray] = {}

    def read_waiting() -> None:
        for shape, places in waiting.items():
            step = max(1, AT_ONCE_BYTES // int(np.prod(shape)))
            for part in (places[start : start + step] for start in range(0, len(places), step)):
                read(part, np.stack([arrays[place] for place in part]))
        waiting.clear()
        arrays.clear()

    size = 0
    for place, picture in enumerate(block.pictures):
        try:
            array = _decoded(block.names[place], picture)
        except PictureError as error:
            rows.errors[place] = error
            continue
        arrays[place] = array
        waiting.setdefault(array.shape, []).append(place)
        size += array.size
        if size > DECODED_BYTES:
            read_waiting()
            size = 0
    read_waiting()
    return rows


def _decoded(name: str, picture: Picture | PictureError) -> np.ndarray:
    if isinstance(picture, PictureError):
        raise picture
    try:
        return to_array(picture)
    except OSError as error:
        raise PictureError(f"{name}: {error.strerror}") from error
    except PictureError as error:
        text = str(error).replace("the bytes:", f"{name}:", 1)
        raise PictureError(text if name in text else f"{name}: {text}") from error
