"""MNIST, synthetic digits, augmentation and degradation."""
