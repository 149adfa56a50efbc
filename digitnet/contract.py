"""The contract of the ONNX files, which `digitnet.export` writes and `digitnet.inference` and the sketchpad read."""

NUM_CLASSES = 10
IMAGE_SIZE = 28  # pixels: width and height of a framed digit
REJECTED = -1  # the label of an image that is blank, or whose confidence is below the threshold

CHANNELS = {1: "gray", 3: "RGB", 4: "RGBA"}


def input_doc(
    batch_size: int | None = None, height: int | None = None, width: int | None = None, channels: int | None = None
) -> str:
    """Return the documentation of the input of a file that takes raw images.

    Args:
        batch_size: Number of images, or None if it is free.
        height: Height in pixels, or None if it is free.
        width: Width in pixels, or None if it is free.
        channels: Number of channels, or None if it is free.

    Returns:
        The documentation.
    """
    shape = f"uint8 [{batch_size or 'N'}, {height or 'H'}, {width or 'W'}, {channels or 'C'}]"
    count = f"{batch_size or 'N'} image{'s' * (batch_size != 1)}"
    size = f"of {height} x {width} pixels (height x width)" if height else "of one size, which may be any size"
    colors = f"{channels} is {CHANNELS[channels]}" if channels else "C is 1 (gray), 3 (RGB) or 4 (RGBA)"
    return (
        f"{shape}: {count} {size}. {colors}. Each image shows one digit of any size at any position, dark on light or"
        " light on dark; transparent pixels count as background."
    )


INPUT_NAME = "image"
INPUT_DOC = input_doc()
OUTPUT_DOCS = {
    "probabilities": "float32 [N, 10]: the probability of each digit; 0.1 each if the image is blank.",
    "label": (
        "int32 [N]: the digit, or -1 if the image is rejected: it is blank, or its largest probability is below the"
        " threshold."
    ),
    "framed": "float32 [N, 28, 28]: the network's input, framed as MNIST frames its digits; 1 = ink, 0 = background.",
    "ink": "float32 [N]: the mean of `framed`; 0 if the image is blank.",
}

# The variant without framing takes ink and has these outputs.
INK_NAME = "ink"
INK_DOC = "float32 [N, 1, 28, 28]: ink, framed as MNIST frames its digits; 1 = ink, 0 = background."
NETWORK_OUTPUTS = ("probabilities", "label")

# Two further files explain a prediction: framing alone, from the same input, and the network alone, from framed digits.
FRAMING_DOCS = {
    "framed": OUTPUT_DOCS["framed"],
    "box": "float32 [N, 4]: top, left, bottom and right of the digit in pixels of the image; 0 if the image is blank.",
    "square": (
        "float32 [N, 4]: top, left, bottom and right of the square that `framed` shows, in pixels of the image, beyond"
        " which it may extend; 0 if the image is blank."
    ),
}
FRAMED_NAME = "framed"
FRAMED_DOC = "float32 [N, 28, 28]: framed digits; 1 = ink, 0 = background."
ACTIVATION_DOCS = {
    "maps1": "float32 [N, 32, 13, 13]: the feature maps after the first pooling and ReLU.",
    "maps2": "float32 [N, 64, 5, 5]: the feature maps after the second pooling and ReLU.",
    "dense": "float32 [N, 128]: the activations of the first dense layer after ReLU.",
    "logits": "float32 [N, 10]: the calibrated logits; with test-time augmentation, their mean over the views.",
    "probabilities": "float32 [N, 10]: the probability of each digit.",
}
