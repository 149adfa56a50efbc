import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.synthetic_numbers import KINDS, write_number
from digitnet import ImageError
from digitnet.numbers.number import find_numbers

RECOGNIZED = {"touching": 0.4}  # fraction of 20 drawn numbers of which all digits have to be right; 0.8 for others


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_each_kind_are_read(classifier, glyph_source, kind):
    rng = np.random.default_rng(7)
    numbers = [write_number(glyph_source, rng.integers(0, 10, 3).tolist(), kind, rng) for _ in range(20)]
    correct = sum(classifier.read_number(number.image).text == number.text for number in numbers)
    assert correct >= RECOGNIZED.get(kind, 0.8) * len(numbers)


def row(*strokes, size=(300, 120)):
    image = Image.new("L", size, 255)
    for stroke in strokes:
        ImageDraw.Draw(image).line(stroke, 0, width=8, joint="curve")
    return image


ONE = [(60, 25), (60, 95)]
SEVEN = [(110, 30), (155, 30), (125, 95)]


def test_a_number_is_described(classifier):
    number = classifier.read_number(row(ONE, SEVEN))
    assert number.text == "17"
    assert [digit.label for digit in number.digits] == [1, 7]
    for digit, (left, top, right, bottom) in zip(number.digits, ((56, 25, 65, 96), (106, 26, 160, 100)), strict=True):
        assert digit.box == pytest.approx((left, top, right, bottom), abs=4)
        assert digit.confidence == pytest.approx(digit.probabilities.max())
        assert digit.framed.shape == (28, 28)
    assert 0.5 < number.confidence <= 1


@pytest.mark.parametrize("scale", [2, 5, 12])
def test_boxes_are_in_pixels_of_the_image_at_any_size(classifier, scale):
    image = row(ONE, SEVEN)
    number = classifier.read_number(image.resize((image.width * scale, image.height * scale)))
    assert number.text == "17"
    assert np.array(number.box) / scale == pytest.approx([56, 25, 160, 100], abs=5)


def test_inverted_numbers_are_the_same(classifier):
    image = np.asarray(row(ONE, SEVEN))
    assert classifier.read_number(255 - image).text == "17"


def test_several_lines_are_several_numbers_from_top_to_bottom(classifier):
    page = Image.new("L", (300, 360), 255)
    page.paste(row(ONE), (0, 0))
    page.paste(row(SEVEN, ONE), (0, 120))
    page.paste(row(SEVEN), (0, 240))
    assert [number.text for number in classifier.read_numbers(page)] == ["1", "17", "7"]


@pytest.mark.parametrize("image", [np.zeros((5, 5), np.uint8), np.full((300, 800), 230, np.uint8), np.ones((1, 1))])
def test_an_image_without_ink_has_the_text_empty(classifier, image):
    number = classifier.read_number(image)
    assert (number.text, number.digits) == ("", [])


def test_marks_are_ignored_and_reported(classifier):
    number = classifier.read_number(row([(15, 60), (40, 60)], ONE, [(80, 92), (84, 96)], SEVEN))
    assert number.text == "17"
    assert sorted(mark.kind for mark in number.marks) == ["decimal point", "minus sign"]


def test_more_than_100_candidates_are_an_error_that_names_the_limit(classifier):
    strokes = [[(20 + 15 * index, 20), (20 + 15 * index, 60)] for index in range(101)]
    with pytest.raises(ImageError, match="at most 100 candidates for digits on a line, got 101"):
        classifier.read_number(row(*strokes, size=(1600, 80)))
    assert classifier.read_number(row(*strokes[:100], size=(1600, 80))).text


def test_all_segments_are_classified_in_one_batch(classifier):
    batches = []

    def classify(images):
        batches.append(images)
        return classifier.run(images)

    page = Image.new("L", (300, 240), 255)
    page.paste(row(ONE, SEVEN), (0, 0))
    page.paste(row(SEVEN), (0, 120))
    find_numbers(np.asarray(page)[..., None], classify)
    assert len(batches) == 1
    assert batches[0].shape[1:] == (28, 28, 1)


def test_a_rejected_segment_is_a_question_mark(classifier):
    def classify(images):
        probabilities, labels, framed = classifier.run(images)
        return probabilities, np.where(labels == 7, -1, labels), framed

    strokes = ONE, SEVEN, [(200, 25), (200, 95)]
    (number,) = find_numbers(np.asarray(row(*strokes))[..., None], classify)
    assert number.text == "1?1"
    assert number.digits[1].label is None
    assert number.confidence == 0


def test_a_line_that_is_mostly_rejected_is_no_number(classifier):
    def classify(images):
        probabilities, labels, framed = classifier.run(images)
        return probabilities, np.where(labels == 7, -1, labels), framed

    assert find_numbers(np.asarray(row(ONE, SEVEN))[..., None], classify) == []


def test_most_letters_between_digits_are_rejected(classifier, glyph_source):
    rng = np.random.default_rng(0)
    numbers = [write_number(glyph_source, [3, -1, 8], "spaced", rng) for _ in range(60)]
    texts = [classifier.read_number(number.image).text for number in numbers]
    assert sum(text.isdigit() for text in texts) <= 20  # the model accepts letters that look like one digit or two


def test_a_single_digit_has_the_label_of_the_single_digit_call(classifier, glyph_source):
    rng = np.random.default_rng(1)
    images = [write_number(glyph_source, [int(rng.integers(10))], "spaced", rng).image for _ in range(60)]
    same = 0
    for image in images:
        prediction, number = classifier(image), classifier.read_number(image)
        expected = "" if prediction.label is None else str(prediction.label)
        same += number.text == expected
    assert same >= 58
