"""The contract of the ONNX file, which `digitnet.export` writes and `digitnet.inference` reads."""

NUM_CLASSES = 10
IMAGE_SIZE = 28  # pixels: width and height of a framed digit
REJECTED = -1  # the label of an image that is blank, or whose confidence is below the threshold

INPUT_NAME = "image"
INPUT_DOC = (
    "uint8 [N, H, W, C]: N images of one size, which may be any size. C is 1 (gray), 3 (RGB) or 4 (RGBA). Each image"
    " shows one digit of any size at any position, dark on light or light on dark; transparent pixels count as"
    " background."
)
OUTPUT_DOCS = {
    "probabilities": "float32 [N, 10]: the probability of each digit; 0.1 each if the image is blank.",
    "label": (
        "int32 [N]: the digit, or -1 if the image is rejected: it is blank, or its largest probability is below the"
        " threshold."
    ),
    "framed": "float32 [N, 28, 28]: the network's input, framed as MNIST frames its digits; 1 = ink, 0 = background.",
    "ink": "float32 [N]: the mean of `framed`; 0 if the image is blank.",
}
