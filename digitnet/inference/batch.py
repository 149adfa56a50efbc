"""Pictures by the million: chunks of them decoded, framed and read on all cores, and the rows in order."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO, cast

import numpy as np
from PIL import Image

from digitnet.errors import ImageError, WorkerError
from digitnet.inference.classifier import DigitClassifier, Picture, Prediction, load_image
from digitnet.inference.sources import Chunk

DECODED_BYTES = 2**24  # of pictures that wait in one thread to be read with others of their size
AT_ONCE = 64  # pictures that go through the network together: more take more memory and no less time
AT_ONCE_BYTES = 2**22  # fewer, of large ones
FEW = 512  # files, which threads read before processes have started; large ones they read as fast


@dataclass
class ChunkPredictions:
    """What the pictures of a chunk were read as.

    labels: int32 (N,), -1 where there is no digit. probabilities: float32 (N, 10). framed: float32 (N, 28, 28).
    errors: by place, why a picture could not be read; its label is -1 and its probabilities are 0.
    """

    names: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    framed: np.ndarray
    errors: dict[int, ImageError] = field(default_factory=dict)

    def prediction(self, place: int) -> Prediction:
        label, probabilities = int(self.labels[place]), self.probabilities[place]
        return Prediction(label if label >= 0 else None, probabilities, float(probabilities.max()), self.framed[place])


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def predict_chunks(classifier: DigitClassifier, chunks: Iterable[Chunk], workers: int) -> Iterator[ChunkPredictions]:
    """The rows of each chunk, in order. Twice as many chunks as workers are under way, however many there are.

    Arrays are read in threads: the network leaves Python's lock. Opening and decoding small files hardly does, two
    threads read no more of them than one; so for files, the first few apart, each thread has a process that reads.
    Raises WorkerError where one of these was killed.
    """
    _quieten()
    under_way: deque[Future[ChunkPredictions]] = deque()
    own, readers, of_files = threading.local(), [], 0  # each thread's own reader, and all of them

    def read_here(chunk: Chunk) -> ChunkPredictions:
        return predict_chunk(classifier, chunk)

    def read_in_process(chunk: Chunk) -> ChunkPredictions:
        if not hasattr(own, "reader"):
            own.reader = _Reader(classifier)
            readers.append(own.reader)
        return cast(_Reader, own.reader).read(chunk)

    def kill_readers() -> None:
        for reader in readers:
            reader.kill()

    with ExitStack() as ends:
        ends.callback(kill_readers)  # last of all: one may just have been begun
        threads = ends.enter_context(ThreadPoolExecutor(workers))
        ends.callback(kill_readers)  # first: the threads may wait for them
        try:
            for chunk in chunks:
                is_array = isinstance(chunk.images, np.ndarray)
                of_files += 0 if is_array else len(chunk.names)
                here = is_array or workers == 1 or of_files <= FEW
                under_way.append(threads.submit(read_here if here else read_in_process, chunk))
                if len(under_way) > 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:  # whoever reads the rows has seen enough
            for future in under_way:
                future.cancel()


class _Reader:
    """A process that reads chunks. It ends when we do, however that comes: then nobody is left to write to it."""

    def __init__(self, classifier: DigitClassifier) -> None:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from digitnet.inference.batch import serve_blocks; serve_blocks()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C goes to all processes of a terminal's session, and is for us
        )
        self.classifier: DigitClassifier | None = classifier  # to be sent: the file may be another by now

    def read(self, chunk: Chunk) -> ChunkPredictions:
        to, back = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        try:
            if self.classifier:
                pickle.dump(self.classifier, to)
                self.classifier = None
            pickle.dump(chunk, to)
            to.flush()
            return cast(ChunkPredictions, pickle.load(back))  # from our own process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise WorkerError(
                "One of the processes that read pictures was killed, perhaps for want of memory: fewer --threads take"
                " less. What --output holds is kept: --resume goes on"
            ) from error

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what was not yet written
                cast(IO[bytes], pipe).close()


def serve_blocks() -> None:
    """What a `_Reader` runs: a classifier comes on stdin, then chunks; the rows of each go out on stdout."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # some send it to every process; the first one ends us
    _quieten()
    with suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # the first one is gone, amid a chunk perhaps
        classifier = pickle.load(sys.stdin.buffer)
        while True:
            chunk = pickle.load(sys.stdin.buffer)
            pickle.dump(predict_chunk(classifier, chunk), sys.stdout.buffer)
            sys.stdout.buffer.flush()
    os._exit(0)  # else Python would try to write what is left


def _quieten() -> None:
    # Of pictures that are too large we say so ourselves.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def predict_chunk(classifier: DigitClassifier, chunk: Chunk) -> ChunkPredictions:
    """The rows of one chunk; pictures of one size go through the network together."""
    count = len(chunk.names)
    rows = ChunkPredictions(
        chunk.names,
        np.full(count, -1, np.int32),
        np.zeros((count, 10), np.float32),
        np.zeros((count, 28, 28), np.float32),
    )

    def read(places: slice | list[int], images: np.ndarray) -> None:
        rows.probabilities[places], rows.labels[places], rows.framed[places] = classifier.run(images)

    if isinstance(chunk.images, np.ndarray):
        step = max(1, min(AT_ONCE, AT_ONCE_BYTES // chunk.images[0].size))
        for start in range(0, count, step):
            read(slice(start, start + step), chunk.images[start : start + step])
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
    for place, picture in enumerate(chunk.images):
        try:
            array = _decoded(chunk.names[place], picture)
        except ImageError as error:
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


def _decoded(name: str, picture: Picture | ImageError) -> np.ndarray:
    if isinstance(picture, ImageError):
        raise picture
    try:
        return load_image(picture)
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror}") from error
    except ImageError as error:
        text = str(error).replace("the bytes:", f"{name}:", 1)
        raise ImageError(text if name in text else f"{name}: {text}") from error
