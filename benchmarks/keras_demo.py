"""The network and the recipe of the Keras demo, in Keras itself, for the benchmarks: pip install '.[bench]'.

After https://github.com/keras-team/keras-io/blob/master/examples/vision/mnist_convnet.py (Apache 2.0) and its many
Flask demos. The functions are run in processes of their own, apart from torch.
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


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns when it is called in a new process, which shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def build(seed: int = 0) -> Any:
    """The compiled network: ink, float32 (N, 28, 28, 1), to probabilities, (N, 10)."""
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
    seed: int, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], goal: float, epochs: int
) -> dict[str, float]:
    """Epochs, and their seconds, in batches of 128, to `goal` of the test set. Sets: uint8 (N, 28, 28), labels."""
    model, (images, labels) = build(seed), train
    ink, test_ink = (part[..., None].astype(np.float32) / 255 for part in (images, test[0]))
    seconds, epoch = 0.0, 0
    for epoch in range(1, epochs + 1):  # noqa: B007  # read after the loop
        start = time.perf_counter()
        model.fit(ink, labels, batch_size=128, verbose=0)
        seconds += time.perf_counter() - start
        if model.evaluate(test_ink, test[1], batch_size=500, verbose=0)[1] >= goal:
            break
    return {"keras": len(labels) * epoch / seconds, "keras_seconds": seconds, "keras_epochs": epoch}


def read(png: bytes, runs: int) -> list[float]:
    """Milliseconds of each of `runs` readings as the demo does it: decoded, inverted, shrunk to 28 x 28, predict."""
    model, times = build(), []
    for turn in range(runs + 10):
        start = time.perf_counter()
        picture = ImageOps.invert(Image.open(io.BytesIO(png)).convert("L")).resize((28, 28))
        model.predict(np.asarray(picture, np.float32)[None, ..., None] / 255, verbose=0)
        if turn >= 10:  # the first ones warm up
            times.append((time.perf_counter() - start) * 1000)
    return times
