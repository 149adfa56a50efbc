"""The contract of the ONNX files, which `digitnet.export` writes and `digitnet.inference` and the sketchpad read."""

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
    "logits": "float32 [N, 10]: the calibrated logits.",
    "probabilities": "float32 [N, 10]: the probability of each digit.",
}
