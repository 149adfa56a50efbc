"""Batch inference: chunks of images are decoded and classified on all cores, with results in order.

Arrays are classified in threads, because the network releases the global interpreter lock (GIL). Opening and decoding
small files does not release it enough, so files are classified in processes. loky manages them: unlike
concurrent.futures, it does not import the main script again, so the script needs no `if __name__ == "__main__"`.
"""

import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from loky import ProcessPoolExecutor
from loky.backend import resource_tracker as loky_resource_tracker
from PIL import Image

from digitnet.contract import IMAGE_SIZE, NUM_CLASSES, REJECTED
from digitnet.errors import ConfigError, ImageError, WorkerError
from digitnet.inference.chunks import Chunk, load_named
from digitnet.inference.classifier import DigitClassifier, Prediction
from digitnet.inference.images import batch_size, batches_by_shape

MAX_DECODED_BYTES = 2**24  # of images that are held in memory to be classified together
PARENT_CHECK_SECONDS = 0.5  # how often a worker checks its parent
START_SECONDS = 0.01  # how long a worker pauses, so that the others get tasks
MIN_FILES_FOR_PROCESSES = 512  # starting processes takes longer than classifying fewer files in threads


@dataclass
class ChunkPredictions:
    """Predictions for one chunk of images.

    Attributes:
        names: The name of each image.
        labels: Int32 (N,), the digit, or -1 if the image was rejected or could not be decoded.
        probabilities: Float32 (N, 10); 0 if the image could not be decoded.
        framed: Float32 (N, 28, 28), the network's inputs.
        errors: The error of each image that could not be decoded, or that the model does not take, by its index.
    """

    names: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    framed: np.ndarray
    errors: dict[int, ImageError] = field(default_factory=dict)

    @classmethod
    def empty(cls, names: list[str]) -> "ChunkPredictions":
        """Create placeholder predictions: rejected, probabilities 0.

        Args:
            names: The name of each of the N images.

        Returns:
            Labels of -1, and probabilities and framed images of 0.
        """
        count = len(names)
        return cls(
            names,
            np.full(count, REJECTED, np.int32),
            np.zeros((count, NUM_CLASSES), np.float32),
            np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.float32),
        )

    def prediction(self, index: int) -> Prediction:
        """Return the prediction for one image.

        Args:
            index: The index of the image in the chunk, at least 0 and below N.

        Returns:
            The prediction.
        """
        return Prediction.from_outputs(self.probabilities[index], self.labels[index], self.framed[index])


def available_cores() -> int:
    """Count the CPU cores that this process may use.

    Returns:
        A number of at least 1.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def predict_chunks(classifier: DigitClassifier, chunks: Iterable[Chunk], workers: int) -> Iterator[ChunkPredictions]:
    """Classify chunks of images in parallel.

    Args:
        classifier: The classifier.
        chunks: The images. At most 2 * `workers` + 1 chunks are in memory at a time.
        workers: Number of threads or processes, at least 1.

    Yields:
        The predictions for each chunk, in the order of the chunks.

    Raises:
        ConfigError: If the classifier takes ink.
        WorkerError: If a worker process was killed.
    """
    if classifier.takes_ink:  # otherwise, each image would have this error
        raise ConfigError(
            f"expected a model that takes images, got {classifier.path}, which takes ink; use digitnet.onnx"
        )
    _disable_warnings()
    pool = _Pool(classifier, workers)
    pending: deque[Future[ChunkPredictions]] = deque()
    try:
        for chunk in chunks:
            pending.append(pool.submit(chunk))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "A worker process was killed, perhaps because memory ran out: use fewer workers (--threads)"
        ) from error
    finally:
        for future in pending:
            future.cancel()
        pool.shut_down()


def predict_chunk(classifier: DigitClassifier, chunk: Chunk) -> ChunkPredictions:
    """Classify one chunk of images in this thread.

    Args:
        classifier: The classifier.
        chunk: The images.

    Returns:
        The predictions; an image that cannot be decoded, or that the model does not take, has an error.
    """
    predictions = ChunkPredictions.empty(chunk.names)
    if isinstance(chunk.images, np.ndarray):
        size = batch_size(chunk.images[0])
        for start in range(0, len(chunk.names), size):
            batch = slice(start, min(start + size, len(chunk.names)))
            _predict_into(predictions, batch, classifier, chunk.images[batch])
        return predictions
    indices: list[int] = []
    arrays: list[np.ndarray] = []
    decoded_bytes = 0
    for index, image in enumerate(chunk.images):
        try:
            array = load_named(chunk.names[index], image)
        except ImageError as error:
            predictions.errors[index] = error
            continue
        indices.append(index)
        arrays.append(array)
        decoded_bytes += array.size
        if decoded_bytes > MAX_DECODED_BYTES:
            _predict_arrays(predictions, indices, classifier, arrays)
            indices, arrays, decoded_bytes = [], [], 0
    _predict_arrays(predictions, indices, classifier, arrays)
    return predictions


def _predict_arrays(
    predictions: ChunkPredictions, indices: list[int], classifier: DigitClassifier, arrays: list[np.ndarray]
) -> None:
    """Classify decoded images of any sizes and store the results at `indices`."""
    for positions, batch in batches_by_shape(arrays):
        _predict_into(predictions, [indices[position] for position in positions], classifier, batch)


def _predict_into(
    predictions: ChunkPredictions, indices: slice | list[int], classifier: DigitClassifier, images: np.ndarray
) -> None:
    """Classify images of one size, (N, H, W, C), and store the results, or an error for each, at `indices`."""
    try:
        probabilities, labels, framed = classifier.run(images)
    except ImageError as error:  # the model takes another size
        for index in range(indices.start, indices.stop) if isinstance(indices, slice) else indices:
            predictions.errors[index] = ImageError(f"{predictions.names[index]}: {error}")
        return
    predictions.probabilities[indices], predictions.labels[indices] = probabilities, labels
    predictions.framed[indices] = framed


def _disable_warnings() -> None:
    """Disable Pillow's warning about large images, because `load_image` raises an error for them."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class _Pool:
    """Threads for arrays, and processes for files as soon as there are many of them."""

    def __init__(self, classifier: DigitClassifier, workers: int) -> None:
        self.classifier, self.workers = classifier, workers
        self.threads = ThreadPoolExecutor(workers)
        self.processes: ProcessPoolExecutor | None = None
        self.directory: TemporaryDirectory[str] | None = None  # holds the model for the worker processes
        self.files = 0

    def submit(self, chunk: Chunk) -> "Future[ChunkPredictions]":
        """Start to classify a chunk."""
        if not isinstance(chunk.images, np.ndarray):
            self.files += len(chunk.names)
            if self.workers > 1 and self.files > MIN_FILES_FOR_PROCESSES:
                return self._submit_to_process(chunk)
        return self.threads.submit(predict_chunk, self.classifier, chunk)

    def _submit_to_process(self, chunk: Chunk) -> "Future[ChunkPredictions]":
        """Start to classify a chunk in a worker process."""
        with _signals_deferred():
            if self.processes is None:
                self.processes = self._start_processes()
            future: Future[ChunkPredictions] = self.processes.submit(_predict_in_worker, chunk)
        return future

    def _start_processes(self) -> ProcessPoolExecutor:
        """Start the worker processes and wait for them, since an interrupted start prints tracebacks."""
        # A copy of the model, because its file may be replaced. It is not an argument, because loky waits forever if a
        # worker is killed before it has read arguments that do not fit into a pipe.
        self.directory = TemporaryDirectory(prefix="digitnet-")
        model = Path(self.directory.name) / "model.onnx"
        model.write_bytes(self.classifier.content)
        processes = ProcessPoolExecutor(self.workers, initializer=_start_worker, initargs=(model, os.getpid()))
        started: set[int] = set()
        while len(started) < self.workers:
            started |= {task.result() for task in [processes.submit(_worker_id) for _ in range(self.workers)]}
        return processes

    def shut_down(self) -> None:
        """Wait for the chunks that are being classified, and end all workers."""
        if self.processes is not None:
            self.processes.shutdown()
        if self.directory is not None:
            self.directory.cleanup()
        self.threads.shutdown(cancel_futures=True)


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer SIGINT and SIGTERM, and let new processes inherit that they are blocked.

    Both may be sent to all processes of a terminal or a job, but only the main process handles them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    received: list[int] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # its handlers also run if another thread gets the signal
        handlers = {s: signal.signal(s, lambda signum, frame: received.append(signum)) for s in signals}
    for tracker in (loky_resource_tracker, resource_tracker):  # starting them later would unblock the signals
        tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for signum in received:
            signal.raise_signal(signum)


_worker_classifier: DigitClassifier | None = None  # set in each worker process


def _start_worker(model: Path, parent: int) -> None:
    """Prepare a worker process."""
    global _worker_classifier
    _worker_classifier = DigitClassifier(model)
    _disable_warnings()
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    """End this process soon after its parent was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


def _worker_id() -> int:
    """Return the process ID of a worker, after a pause that lets the other workers get tasks."""
    time.sleep(START_SECONDS)
    return os.getpid()


def _predict_in_worker(chunk: Chunk) -> ChunkPredictions:
    """Classify a chunk in a worker process."""
    assert _worker_classifier is not None
    return predict_chunk(_worker_classifier, chunk)
