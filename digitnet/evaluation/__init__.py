"""Measure accuracy, calibration and robustness."""
