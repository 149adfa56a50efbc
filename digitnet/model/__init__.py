"""The network, the framing in front of it, its calibration, and its checkpoints."""
