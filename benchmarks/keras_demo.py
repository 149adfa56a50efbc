"""The Keras baseline: network and recipe of the Keras example, in Keras. Install it with pip install '.[bench]'.

The recipe is that of https://github.com/keras-team/keras-io/blob/master/examples/vision/mnist_convnet.py (Apache 2.0)
and of the many Flask demos that use it. The functions run in separate processes, without torch.
"""

import importlib.util
import io
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageOps

INSTALLED = importlib.util.find_spec("keras") is not None and importlib.util.find_spec("tensorflow") is not None
WARM_UP = 10  # predictions that are not timed


def run_in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a new process that shares nothing with this one.

    Args:
        function: A function of a module.
        arguments: Its arguments, which are pickled.

    Returns:
        Its result.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def build(seed: int = 0) -> Any:
    """Build and compile the network.

    Args:
        seed: Seed of the initial weights.

    Returns:
        A Keras model from ink, float32 (N, 28, 28, 1) in [0, 1], to probabilities, (N, 10).
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
            layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )  # fmt: skip
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(
    seed: int,
    train_set: tuple[np.ndarray, np.ndarray],
    test_set: tuple[np.ndarray, np.ndarray],
    target_accuracy: float,
    max_epochs: int,
) -> dict[str, float]:
    """Train in batches of 128 until the test accuracy reaches the target.

    Args:
        seed: Seed of the random numbers.
        train_set: Images, uint8 (N, 28, 28), and labels, (N,).
        test_set: Test images and labels, of the same shapes and types.
        target_accuracy: Accuracy in [0, 1] at which to stop.
        max_epochs: Maximum number of epochs.

    Returns:
        Throughput in images/s, seconds of training, and number of epochs.
    """
    model, (images, labels) = build(seed), train_set
    ink, test_ink = (array[..., None].astype(np.float32) / 255 for array in (images, test_set[0]))
    seconds, epoch = 0.0, 0
    for epoch in range(1, max_epochs + 1):  # noqa: B007  # read after the loop
        start = time.perf_counter()
        model.fit(ink, labels, batch_size=128, verbose=0)
        seconds += time.perf_counter() - start
        if model.evaluate(test_ink, test_set[1], batch_size=500, verbose=0)[1] >= target_accuracy:
            break
    return {"keras": len(labels) * epoch / seconds, "keras_seconds": seconds, "keras_epochs": epoch}


def time_predictions(png: bytes, runs: int) -> list[float]:
    """Time the predictions of the Keras demo.

    As in the demos, the image is decoded, inverted and shrunk to 28 x 28 as a whole.

    Args:
        png: The content of a PNG file.
        runs: Number of predictions.

    Returns:
        The durations in milliseconds, after a warm-up.
    """
    model, times = build(), []
    for index in range(runs + WARM_UP):
        start = time.perf_counter()
        image = ImageOps.invert(Image.open(io.BytesIO(png)).convert("L")).resize((28, 28))
        model.predict(np.asarray(image, np.float32)[None, ..., None] / 255, verbose=0)
        if index >= WARM_UP:
            times.append((time.perf_counter() - start) * 1000)
    return times
