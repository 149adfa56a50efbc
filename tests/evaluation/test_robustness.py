import numpy as np
import pytest

from digitnet import DigitClassifier
from digitnet.evaluation.corruptions import CORRUPTIONS
from digitnet.evaluation.page_corruptions import PAGE_CORRUPTIONS
from digitnet.evaluation.robustness import measure_robustness
from tests.images import draw_digit


@pytest.mark.slow
def test_each_corruption_is_measured_after_the_original_images():
    seven = 255 - np.asarray(draw_digit(7, 28).convert("L"))
    images, labels = np.stack([seven] * 4), np.full(4, 7)
    results = list(measure_robustness(DigitClassifier(), images, labels))
    assert [result.corruption for result in results] == ["uncorrupted", *CORRUPTIONS, *PAGE_CORRUPTIONS]
    assert (results[0].accuracy, results[0].rejected) == (1, 0)
    assert np.mean([result.accuracy for result in results]) > 0.8
    for result in results:
        assert len(result.mistakes) == round((1 - result.accuracy) * len(images))
        confidences = [mistake.prediction.confidence for mistake in result.mistakes]
        assert confidences == sorted(confidences, reverse=True)
    assert results == list(measure_robustness(DigitClassifier(), images, labels)), "it is reproducible"
