"""Memory of the server, so that requests leave none of it occupied."""

import ctypes
import gc
import sys

M_MMAP_THRESHOLD = -3  # a parameter of mallopt in glibc's malloc.h
MMAP_THRESHOLD = 1_000_000  # bytes
LARGE_BODY = 100_000  # bytes of a request; a drawing has 5,000


def configure_memory() -> None:
    """Prepare the process: call it once, when the server has started.

    glibc raises the size above which it returns memory at once whenever such memory is freed, up to 32 MB. With a
    constant size, 56 hostile requests left 182 instead of 400 MB occupied. See mallopt(3). It has no effect on systems
    without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    gc.collect()
    gc.freeze()  # what exists now is not examined again, which makes a collection short


def collect_garbage(body_bytes: int) -> None:
    """Release what Gradio keeps of a large request.

    An event that failed is a part of a reference cycle, the exception and the frame that stores it, together with its
    input. Python finds cycles after many small objects were created, so that a few hundred MB may wait.

    Args:
        body_bytes: Size of the request.
    """
    if body_bytes > LARGE_BODY:
        gc.collect()
