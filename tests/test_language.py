"""The project's texts and names use the field's standard terms: a search for the terms that they replace."""

import re
import subprocess

import pytest

from tests.conftest import ROOT

# Words to avoid, as regular expressions, and the standard term. Identifiers are searched word by word.
WORDS = {
    r"pictures?": "image",
    r"made hard": "corrupted",
    r"spoilt|spoils?": "degraded",
    r"redraws?|redrawn|drawn anew": "degraded, random placement",
    r"stray": "distractor",
    r"pad": "sketchpad, degradation",
    r"handwriting": "synthetic digits, glyph templates",
    r"slants?|slanted|slanting": "shear",
    r"bends?|bending|bent": "elastic deformation",
    r"grounds?": "background",
    r"readings|(?:a|its|each|the) reading": "prediction",
    r"readers?": "worker, predictor",
    r"misreads?|misread": "misclassifies",
    r"called none|what is none|no digit": "rejected, non-digit",
    r"right of these|of these right": "accuracy on accepted images",
    r"folded": "fused",
    r"bare (?:loop|network|onnxruntime)": "plain PyTorch loop, network alone, onnxruntime alone",
    r"usual way": "baseline",
    r"by the million": "batch inference",
    r"quieten": "filter_warnings",
    r"keep memory": "configure_malloc",
    r"met|wanted": "got, expected",
    r"goes on|going on|go on": "resume",
    r"mends?|mended": "fix",
    r"lies (?:at|in)": "is stored in",
    r"take turns|takes turns|contestants?": "interleave, methods",
    r"thickened|thinned|hardened": "dilated, eroded, sharpened",
    r"presentations": "variants",
    r"alike": "the same way",
    r"invented (?:signs?|characters?)": "invented symbol",
    r"is another model": "is not a digitnet model",
    r"(?:is|are|be) (?:turned|pushed|stretched out)": "rotated, displaced",
    r"(?:in|all) (?:the|many|both) ways": "transforms, variants",
    r"(?:a|the) (?:share|part) of the (?:images|batch|epoch|digits|runs?)": "fraction",
    r"ctrl c ends": "press Ctrl-C to stop",
    r"the hard (?:images|pages|ones)": "corrupted",
    r"comes of|came of": "results",
    r"grey|colours?|coloured|centres?|centred|labell\w+|normalis\w+|licences?|behaviours?": "American spelling",
}
# Names to avoid, as they are spelled in code, and what replaces them.
NAMES = {
    r"\b(?:MOST|LEAST|FEW|AT_ONCE)(?:_\w+)?\b": "MAX_..., MIN_...",
    r"\bWholeBatches\b": "BatchSampler",
    r"\bWholeCheckpointIO\b": "AtomicCheckpointIO",
    r"\bBestAndLast\b": "ModelCheckpoint",
    r"\bEpochBar\b": "RichProgressBar",
    r"\brandom(?:: (?:np\.random\.|torch\.)?Generator| = np\.random\.default_rng)": "rng",
}

# Standard terms that contain a word above, each with its reason; they are removed before the search.
ALLOWED = [
    r"\b(?:np|numpy|F|torch\.nn\.functional|ImageOps|functional)\.pad\b",  # functions of NumPy, PyTorch and Pillow
    r"\bhandwriting recognition\b",  # the field's name
    r"\bLICENSE\b",  # the file
    r"touch ?pad|track ?pad",  # hardware
    r"\bcsv\.(?:reader|DictReader)\b",  # of the standard library
    r"\b[Ff]ileReader\b",  # of browsers
    r"\bscreen readers?\b",  # software that reads a page aloud
    r"\bset_title\([^)]*pad=",  # an option of matplotlib
    r"\bpad_edge\b",  # an option of rich's tables
    r"\bpadding\b",  # CSS and convolutions
    r"<picture\b|</picture>",  # the HTML element
    r"aria-labelledby",  # the attribute
    # Messages for visitors of the page.
    r"a picture that can be opened|This picture is too|no picture to save|saves the picture and",
]
BINARY = (".png", ".onnx", ".ckpt", ".ico", ".jpg")
UNCHECKED = {
    "tests/test_language.py",  # holds the words
    "LICENSE",  # a legal text
    "constraints.txt",  # names of packages
}


def tracked_files():
    """Return the paths of all tracked text files, relative to the repository, with `/`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git clone")
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if name not in UNCHECKED and not name.endswith(BINARY)]


ANY_ALLOWED = re.compile("|".join(ALLOWED))
# Most lines have no word to avoid: one search for all of them takes a tenth of the time of a search for each.
ANY_WORD = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in WORDS))
ANY_NAME = re.compile("|".join(NAMES))


def words(text):
    """Return the text with identifiers taken apart: `readPad`, `read_pad` and `ReadPad` become `read pad`."""
    text = ANY_ALLOWED.sub(" ", text)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return text.replace("_", " ").lower()


def problems(name, text):
    """Return a line for each word to avoid in a file's text."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if name == "CHANGELOG.md":
            line = re.sub(r"`[^`]*`", "", line)  # it names what was renamed
        if not (ANY_WORD.search(words(line)) or ANY_NAME.search(line)):
            continue
        hits = {term: re.findall(rf"\b(?:{pattern})\b", words(line)) for pattern, term in WORDS.items()}
        hits |= {term: re.findall(pattern, line) for pattern, term in NAMES.items()}
        found += [f"{name}:{number}: {hit!r}: say {term!r}" for term, group in hits.items() for hit in group]
    return found


@pytest.mark.parametrize("name", tracked_files())
def test_a_file_uses_the_standard_terms(name):
    found = problems("the path", name) + problems(name, (ROOT / name).read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "a picture",
        "load_picture(",
        "class Reader:",
        "pad = 3",
        "MOST_PIXELS = 1",
        "it goes on",
        "random = np.random.default_rng(0)",
        "class WholeBatches",
        "met",
    ],
)
def test_a_planted_word_is_found(text):
    assert problems("planted.py", f"x = 1\n{text}\n")


@pytest.mark.parametrize(
    "text", ["an image", "np.pad(ink, 1)", "csv.reader(file)", "the metric", "padding: 3px", "at most"]
)
def test_a_standard_term_is_not_found(text):
    assert problems("planted.py", text) == []
