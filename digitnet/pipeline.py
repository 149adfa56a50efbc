"""Pictures by the million: blocks of them decoded, framed and read on all cores, and the rows in order."""

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
from PIL import Image

from digitnet.classifier import DigitClassifier, Picture, Prediction, to_array
from digitnet.errors import PictureError, ReaderLostError
from digitnet.sources import Block

DECODED_BYTES = 2**24  # of pictures that wait in one thread to be read with others of their size
AT_ONCE = 64  # pictures that go through the network together: more take more memory and no less time
AT_ONCE_BYTES = 2**22  # fewer, of large ones
FEW = 8  # blocks of files that take less time than processes take to start
MOST_PROCESSES = 61  # as many as Windows can wait for


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

    Arrays are read in threads: the network leaves Python's lock. Opening and decoding small files hardly does, two
    threads read no more of them than one; so files, the first few apart, are read in processes.
    Raises ReaderLostError where one of these was killed.
    """
    _quieten()
    under_way: deque[Future[Rows]] = deque()
    with ExitStack() as pools:
        threads = pools.enter_context(ThreadPoolExecutor(workers, initializer=_block_interrupts))
        processes, of_files = None, 0
        try:
            for block in blocks:
                of_files += not isinstance(block.pictures, np.ndarray)
                if workers == 1 or of_files <= FEW or isinstance(block.pictures, np.ndarray):
                    under_way.append(threads.submit(read_block, classifier, block))
                else:
                    processes = processes or pools.enter_context(_processes(classifier, workers))
                    under_way.append(threads.submit(processes.submit, _read_here, block).result())
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise ReaderLostError(
                "One of the processes that read pictures was killed, perhaps for want of memory: fewer --threads take"
                " less. What --output holds is kept: --resume goes on"
            ) from error
        finally:  # whoever reads the rows has seen enough
            for future in under_way:
                future.cancel()


def _quieten() -> None:
    # Of pictures that are too large we say so ourselves.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _block_interrupts() -> None:
    """Ctrl-C goes to all processes of a terminal, and is for the first one's main thread, which ends the others.

    It may come while these start, before `_begin`: so threads start them, in which it is blocked, as it then is in
    what they start, and which it does not break off half way.
    """
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _processes(classifier: DigitClassifier, workers: int) -> ProcessPoolExecutor:
    if sys.platform != "win32":
        resource_tracker.ensure_running()  # where this helper of multiprocessing's starts, it lifts that block
    # Begun anew, not forked: a fork would copy onnxruntime's threads and locks as they stand.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(min(workers, MOST_PROCESSES), context, _begin, (classifier.path,))


_here: DigitClassifier  # that of a process which `_begin` began


def _begin(model: Path) -> None:
    global _here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _quieten()
    _here = DigitClassifier(model)


def _end_with_parent() -> None:
    """Ends this process when the one that began it is gone, killed even: nothing else would wake us any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _read_here(block: Block) -> Rows:
    return read_block(_here, block)


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
        step = max(1, min(AT_ONCE, AT_ONCE_BYTES // block.pictures[0].size))
        for start in range(0, count, step):
            read(slice(start, start + step), block.pictures[start : start + step])
        return rows

    waiting: dict[tuple[int, ...], list[int]] = {}
    arrays: dict[int, np.ndarray] = {}

    def read_waiting() -> None:
        for shape, places in waiting.items():
            step = max(1, min(AT_ONCE, AT_ONCE_BYTES // int(np.prod(shape))))
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
