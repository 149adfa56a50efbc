"""Draw digitnet/data/printed_glyphs.png: digits, letters and signs of about 200 fonts, framed as 28 x 28 pixels.

    python docs/printed_glyphs.py [--fonts DIR]

The fonts come from the npm registry, in the packages @fontsource/NAME. Their licenses are the SIL Open Font License,
the Apache License 2.0 (luckiest-guy, permanent-marker, roboto-slab, schoolbell and special-elite) and that of Bitstream
Vera (dejavu-sans). All of them allow the use of images of text. Each row of the sheet shows one font: the digits 0 to
9, then letters and signs that do not look like digits, the last six from other scripts.
"""

import argparse
import io
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parent.parent))  # to run from a clone without installing it

from digitnet.contract import IMAGE_SIZE, NUM_CLASSES
from digitnet.data.printed import COLUMNS, GRAY_LEVELS, SHEET
from digitnet.files import write_atomically
from digitnet.model.framing import Framing

VERSION = "5.3.0"
FAMILIES = {
    "sans": [
        "arimo", "dejavu-sans", "exo-2", "ibm-plex-sans", "inter", "josefin-sans", "lato", "montserrat", "nunito",
        "open-sans", "poppins", "quicksand", "roboto", "source-sans-3",
    ],
    "serif": [
        "abril-fatface", "bodoni-moda", "caladea", "cormorant", "eb-garamond", "libre-baskerville", "lora",
        "merriweather", "old-standard-tt", "playfair-display", "source-serif-4", "tinos",
    ],
    "slab": [
        "alfa-slab-one", "courier-prime", "rokkitt", "roboto-slab", "special-elite", "zilla-slab",
    ],
    "monospaced": [
        "anonymous-pro", "cousine", "inconsolata", "jetbrains-mono", "share-tech-mono", "source-code-pro",
        "space-mono",
    ],
    "condensed": [
        "anton", "barlow-condensed", "bebas-neue", "league-gothic", "oswald", "pt-sans-narrow", "roboto-condensed",
    ],
    "display": [
        "audiowide", "black-ops-one", "bungee", "cinzel", "lobster", "luckiest-guy", "orbitron", "pacifico",
        "press-start-2p", "righteous", "saira-stencil-one", "silkscreen", "vt323",
    ],
    "script": [
        "amatic-sc", "architects-daughter", "caveat", "dancing-script", "gloria-hallelujah", "handlee",
        "indie-flower", "kalam", "patrick-hand", "permanent-marker", "reenie-beanie", "schoolbell",
        "shadows-into-light",
    ],
}  # fmt: skip
SUBSETS = ("latin", "greek", "cyrillic")  # each is a file of its own
REGULAR, BOLD = 400, 700

# Characters that do not look like digits in any of the fonts. Left out are, for example, B b D g I i j l O o Q q S s y
# Z z, the signs ( ) / [ ] | { }, the Greek beta, gamma and theta, and the Cyrillic be, ve, ze, che and e.
NON_DIGITS = {
    "latin": "ACEFGHJKLMNPRTUVWXYacdefhkmnprtuvwx$!?#@&%+=*<>~^€¥±\N{MULTIPLICATION SIGN}÷«»",
    "greek": "ΓΔΛΞΠΣΦΨΩαελμπτφχψω",
    "cyrillic": "ГДЖИЛПФЦШЩЮЯжилпфцшщюя",
}
DIGIT_LIKE = {  # further characters that look like digits in a family
    "amatic-sc bebas-neue bungee cinzel luckiest-guy permanent-marker silkscreen": "d",  # drawn as a capital
    "caveat dancing-script lobster pacifico": "CEFGJLTYefr",
    "audiowide black-ops-one bungee orbitron press-start-2p righteous saira-stencil-one silkscreen vt323": "Gae@&%",
}
SCRIPTS = {  # package, subset: letters of other scripts that do not look like digits
    ("noto-sans-arabic", "arabic"): "ءآؤئبةتثجحخدزسشصضطظعغػؼؽؾؿفقكلمنهىي",
    ("noto-sans-armenian", "armenian"): "աբդեէըթժիխհձղմնոպռսվտրւփքֆև",
    ("noto-sans-bengali", "bengali"): "অআইঈউঊঋঌএঐওঔকখগঘঙচছজঝঞটঠডঢণতথদধনপফবভমযরলশষসহ",
    ("noto-sans-devanagari", "devanagari"): "अआइईऊऋऌऍऎएऐऑऒओऔकखगघङचछजझञटठडढणतथदधनऩपफबभमयरऱलळऴवशषसह",
    ("noto-sans-ethiopic", "ethiopic"): "ሀሂሄሆሇላልሏሓሙሟሢሣሤሥሦሧሩራሬርሴሷሺቀቃቄቇቐቒቖቛበቡቢባቤብቦቧቨቫቬቯቲቶቸቼቾኀኂኄኅኋናኔኖኗኛኜ"
    "ኝኡኧካክኴኼኽዄወዊዋዌውዎዏዑዔዘዛዞዤዬዯዲዴዸዾጄጉጊጋጌግጎጒጔጕጘጚጛጜጝጟጡጧጭጯጰጳጵጶጸጹጺጻጽጾጿፁ"
    "ፂፄፇፈፉፊፌፎፔፕ",
    ("noto-sans-georgian", "georgian"): "ადეთილმოპჟრტუფქღშჩცძჭჯ",
    ("noto-sans-gujarati", "gujarati"): "અઆઇઈઉઊઋઌઍએઐઑઓઔકખગઘચછજઝઞઠઢણતથદધનપફબભમયલળવશષસહ",
    ("noto-sans-gurmukhi", "gurmukhi"): "ਅਆਇਈਉਊਏਐਓਔਕਖਗਘਙਚਛਜਝਞਟਠਢਣਥਦਧਨਪਫਬਭਮਯਰਲਲ਼ਵਸ਼ਸਹ",
    ("noto-sans-hebrew", "hebrew"): "אבגדהחטכמנעפץצקשת",
    ("noto-sans-kannada", "kannada"): "ಅಆಇಈಉಊಋಌಎಏಐಒಓಔಕಖಗಘಙಚಛಜಝಞಟಠಡಢಣತಥದಧನಪಫಬಭಮಯರಱಲಳವಶಷಸಹ",
    ("noto-sans-khmer", "khmer"): "កគឃងចឆជឈញដឋឌឍណតថធបផពភមយលវឝឞសហឡអ",
    ("noto-sans-lao", "lao"): "ກຄຆຉຌຍຎຏຐຑຒຓດຕຖທຘນບປຜຝພຟຠມຢຨຩສຫຬ",
    ("noto-sans-myanmar", "myanmar"): "ကခဂဃစဆဇဉညဋဌဍဎဏတထဓနပဖဗဘမယလသဟဠအ",
    ("noto-sans-sinhala", "sinhala"): "අආඇඈඊඋඌඍඎඏඐඑඒඓඔඕඖකඛගඝඞඟචඡජඣඤඥඦඨඩඪණඬතථදධනඳපඵබභමඹයරශෂසහළ",
    ("noto-sans-tamil", "tamil"): "அஆஇஈஉஊஎஏஐஒஓஔகஙசஜஞடணதநனபமயரறலளழவஶஷஸஹ",
    ("noto-sans-telugu", "telugu"): "అఆఇఈఉఊఋఌఎఏఐఒఓఔకఖగఘఙచఛజఝఞటఠడఢణతథదధనపఫబభమయరఱలళఴవశషసహ",
    ("noto-sans-thai", "thai"): "กขฃคฅฆงจชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยฤลฦวศษสหฬอฮ",
    ("yomogi", "japanese"): "あいおかきけさせたなにぬねはふほまみむめゆれわをサシネホモキ"
    "水木金火山人大天文学校本国年時分中小風雨雪花草森林車電話語書東西南北新高長馬鳥魚愛道家食",
}
DIGIT_SIZES = (16, 22, 32, 64, 64, 64)  # pixels per em, one of which is sampled for each glyph
NON_DIGIT_SIZES = (24, 64, 64, 64)  # larger, because a small letter may look like a digit
MAX_INK = 255
SCRIPT_COLUMNS = 6  # letters of other scripts in each row

Glyph = tuple[Path, str]  # a font file and a character


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, help="directory with node_modules (default: download the fonts)")
    parser.add_argument("--output", type=Path, default=SHEET, help=f"file to write (default: {SHEET})")
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        if not options.fonts:
            names = [*all_families(), *(package for package, _ in SCRIPTS)]
            packages = [f"@fontsource/{name}@^{VERSION}" for name in names]
            subprocess.run(["npm", "install", "--ignore-scripts", "--silent", *packages], cwd=scratch, check=True)
        fonts = (options.fonts or Path(scratch)) / "node_modules" / "@fontsource"
        write_atomically(options.output, encode(draw_rows(fonts, np.random.default_rng(0))))


def draw_rows(fonts: Path, rng: np.random.Generator) -> np.ndarray:
    """Draw a row of glyphs for each style of each family.

    Args:
        fonts: The directory of the npm packages.
        rng: Source of the random numbers.

    Returns:
        Framed images, uint8 (rows, 24, 28, 28): digits, letters and signs of the font, letters of other scripts.
    """
    paths = {key: fonts / key[0] / "files" / f"{key[0]}-{key[1]}-{REGULAR}-normal.woff" for key in SCRIPTS}
    scripts = [(paths[key], character) for key, characters in SCRIPTS.items() for character in characters]
    rows: list[list[np.ndarray]] = []
    for family in all_families():
        for style in find_styles(fonts / family, family):
            others = [scripts[index] for index in rng.integers(len(scripts), size=SCRIPT_COLUMNS)]
            own = find_non_digits(fonts / family / "files", family, style)
            chosen = rng.permutation(len(own))[: COLUMNS - NUM_CLASSES - SCRIPT_COLUMNS]
            digits = [(fonts / family / "files" / f"{family}-latin-{style}.woff", str(d)) for d in range(NUM_CLASSES)]
            row = [draw_glyph(*glyph, int(rng.choice(DIGIT_SIZES))) for glyph in digits]
            non_digits = [*(own[index] for index in chosen), *others]
            rows.append([*row, *(draw_glyph(*glyph, int(rng.choice(NON_DIGIT_SIZES))) for glyph in non_digits)])
    return np.stack([np.stack(row) for row in rows])


def all_families() -> list[str]:
    """Return the names of all families with digits.

    Returns:
        The names in the order of the sheet.
    """
    return [family for group in FAMILIES.values() for family in group]


def find_styles(package: Path, family: str) -> list[str]:
    """Select at most five styles of a family.

    Args:
        package: The directory of the npm package.
        family: The name of the family.

    Returns:
        The lightest weight, the regular and the heaviest one, and italics of the regular and the bold one, as in
        the names of the files, for example "400-normal".
    """
    names = [path.name for path in package.glob(f"files/{family}-latin-*.woff")]
    found = [re.fullmatch(rf"{family}-latin-(\d+)-(\w+)\.woff", name) for name in names]
    styles = {(int(match[1]), match[2]) for match in found if match}
    weights = sorted(weight for weight, slope in styles if slope == "normal")
    chosen = [(weight, "normal") for weight in (weights[0], REGULAR, weights[-1])]
    chosen += [(REGULAR, "italic"), (BOLD, "italic")]
    return [f"{weight}-{slope}" for weight, slope in dict.fromkeys(chosen) if (weight, slope) in styles]


def find_non_digits(files: Path, family: str, style: str) -> list[Glyph]:
    """Find the characters of a font that do not look like digits.

    Args:
        files: The directory of the font files.
        family: The name of the family.
        style: Its weight and slope.

    Returns:
        Font files and characters.
    """
    excluded = "".join(characters for families, characters in DIGIT_LIKE.items() if family in families.split())
    glyphs: list[Glyph] = []
    for subset, characters in NON_DIGITS.items():
        path = files / f"{family}-{subset}-{style}.woff"
        if not path.exists():
            continue
        with TTFont(path) as font:
            mapped = font.getBestCmap()
        glyphs += [(path, c) for c in characters if ord(c) in mapped and c not in excluded]
    return glyphs


def draw_glyph(path: Path, character: str, size: int) -> np.ndarray:
    """Draw and frame a glyph.

    Args:
        path: The font file.
        character: The character, which the font must have.
        size: Pixels per em.

    Returns:
        The framed image, uint8 (28, 28), 255 = ink.
    """
    image = Image.new("L", (3 * size, 3 * size))
    font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(image).text((size, size), character, fill=MAX_INK, font=font)
    framed, blank = Framing()(torch.from_numpy(np.array(image))[None, ..., None])
    if blank:
        raise ValueError(f"{path.name} has no ink for {character!r}; remove the character or the font")
    return (framed[0] * MAX_INK).round().to(torch.uint8).numpy()


def encode(rows: np.ndarray) -> bytes:
    """Encode the sheet as a PNG file with 16 gray levels.

    Args:
        rows: Framed images, uint8 (rows, 24, 28, 28).

    Returns:
        The content of the file.
    """
    sheet = rows.transpose(0, 2, 1, 3).reshape(-1, COLUMNS * IMAGE_SIZE)
    levels = np.round(sheet * ((GRAY_LEVELS - 1) / 255)).astype(np.uint8)
    image = Image.fromarray(levels).convert("P")
    image.putpalette([round(level * 255 / (GRAY_LEVELS - 1)) for level in range(GRAY_LEVELS) for _ in range(3)])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, bits=4)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
