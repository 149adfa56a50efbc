"""Find the digits of whole numbers in an image; NumPy only, and nothing here classifies."""
