"""Digits, and what is none, written as pen strokes: forms that MNIST's American writers did not use, without end.

A form is strokes, a stroke is points that the pen passes in a smooth curve. Each time it is written, the points move a
little, all together are slanted, stretched and turned, and a pen of some width and shape follows. numpy and Pillow
alone, one after the other in a second: about two thousand. The forms are our own.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageOps

# Points "x,y" on a grid of 100 from the top left; "/" begins a stroke, "!" makes a corner, "*" closes a ring, which
# may begin anywhere and overlap itself. The number before each form says how often it is written, among its like.
DIGITS: tuple[tuple[tuple[float, str], ...], ...] = (
    (  # 0: round, narrow, open at the top, with a loop there, slashed, dotted
        (6, "50,0 22,12 10,50 22,88 50,100 78,88 90,50 78,12 *"),
        (2, "50,0 30,14 25,50 30,86 50,100 70,86 75,50 70,14 *"),
        (2, "58,4 30,8 10,50 26,92 56,98 84,72 86,30 66,6 44,6"),
        (1, "64,16 44,2 18,24 10,62 32,96 66,92 86,54 74,16 50,6 46,22 66,24 84,12"),
        (1, "50,0 22,12 10,50 22,88 50,100 78,88 90,50 78,12 * / 84,8 16,92"),
        (1, "50,0 22,12 10,50 22,88 50,100 78,88 90,50 78,12 * / 50,48 52,52"),
    ),
    (  # 1: a stroke, a short flag, a long upstroke, straight or hooked, a foot, both, a hook below
        (12, "50,0 50,50 50,100"),
        (2, "38,16 52,0! 50,50 50,100"),
        (4, "22,38 40,22 56,0! 54,50 52,100"),
        (4, "4,58 34,32 60,0! 58,50 54,100"),
        (2, "28,26 52,0! 50,50 50,100 / 24,100 50,99 78,100"),
        (1, "50,0 50,50 50,98 / 26,100 50,99 76,100"),
        (1, "14,48 36,26 54,0! 52,50 50,100 / 26,99 52,100 80,98"),
        (1, "30,24 52,0! 48,60 54,94 68,92"),
        (1, "34,0 52,4 52,50 50,100! 72,92"),
        (1, "8,62 34,34 58,8 50,0 42,10 46,60 52,92 66,100 86,90"),
        (2, "10,40 34,24 60,0! 54,50 46,100"),
        (5, "6,52 36,28 62,0! 52,50 40,100"),
        (4, "2,68 34,36 68,0! 52,50 36,100"),
        (4, "8,36 34,26 62,0! 54,50 44,100"),
        (5, "2,40 30,30 66,0! 52,50 38,100"),
        (4, "12,42 16,50 34,36 62,0! 54,50 44,100"),
        (4, "4,44 10,54 34,34 66,0! 54,54 40,100"),
        (2, "38,48 32,64 40,42 58,0! 50,50 44,100"),
        (1, "10,38 36,26 64,0! 54,50 50,98 / 8,94 50,96 96,90"),
        (1, "16,14 30,4 54,0 60,14 48,50 44,90! 8,90 50,92 98,88"),
        (1, "8,82 40,50 66,8 60,0 50,10 48,50 44,100"),
        (2, "8,56 40,28 60,0! 50,60 42,100 / 14,98 44,100 84,96"),
    ),
    (  # 2: flat, with a loop, a swan's neck, like Z, with a curl on top
        (5, "14,26 28,6 54,0 78,14 76,38 52,66 12,100! 50,99 90,100"),
        (4, "14,24 30,4 60,0 80,18 74,44 44,78 20,94 16,84 34,80 60,96 92,94"),
        (2, "12,20 40,2 72,6 76,30 54,60 24,94 12,98 20,84 44,88 70,100 94,86"),
        (2, "14,8 50,6 82,4! 50,50 12,98! 50,98 88,96"),
        (2, "34,30 22,18 40,2 68,4 80,24 66,54 38,82 12,98! 50,96 88,100"),
        (1, "16,26 40,0 74,10 72,40 40,74 14,96! 44,86 70,96 92,90"),
        (2, "44,30 24,34 18,14 46,0 76,14 66,50 34,84 14,92 18,74 40,84 68,100 92,88"),
        (2, "42,36 22,26 28,6 54,0 78,14 70,42 42,68 12,92! 30,86 54,90 72,99 94,90"),
    ),
    (  # 3: round, with a flat top, the middle looped or not reached
        (5, "14,14 44,0 78,12 72,38 42,48! 76,56 86,80 52,100 10,90"),
        (4, "14,4 50,3 80,2! 64,22 44,44! 78,52 88,76 56,100 12,92"),
        (2, "16,16 44,0 76,14 66,40 40,50 36,44 54,44 82,62 78,88 44,100 10,88"),
        (2, "16,12 50,0 76,18 58,42 46,48 66,52 84,74 62,98 26,100 10,84"),
        (2, "28,28 20,10 46,0 70,12 66,34 44,44! 74,52 84,76 56,100 14,90"),
        (1, "12,6 46,2 82,6 56,38 44,46 80,54 84,84 48,100 6,98"),
    ),
    (  # 4: open, closed, lightning, in one stroke
        (4, "26,0 20,26 12,58! 50,58 92,54 / 68,14 66,56 62,100"),
        (3, "62,0 36,32 6,66! 50,66 94,64 / 64,0 64,50 62,100"),
        (3, "40,0 24,36 8,64! 50,62 92,60 / 66,30 62,64 56,100"),
        (2, "58,0 30,36 6,64! 50,62 88,62 / 74,28 66,64 54,100"),
        (2, "24,0 16,30 30,50 56,50 76,36! 78,4! 74,50 70,100"),
        (2, "22,4 16,36 28,52 54,48 74,30 82,2! 74,46 66,84 58,100"),
        (2, "66,100 66,50 66,2! 36,36 8,66! 50,66 92,64"),
        (1, "36,0 22,34 6,66 46,62 84,40! 66,70 46,100"),
        (3, "44,0 24,40 8,76! 46,74 92,66 / 66,46 58,76 54,100"),
        (2, "50,0 22,20 10,44 26,56 60,50 80,40! 70,70 62,100"),
        (2, "46,0 18,30 8,62! 40,62 74,50! 70,70 76,96"),
        (3, "48,0 28,36 12,72! 44,70 74,60 / 64,40 58,70 52,100"),
        (3, "46,0 22,42 14,72 30,80 54,68 72,44! 66,72 58,100"),
    ),
    (  # 5: a bar apart, a bar joined, in one curve, with a hook
        (5, "24,4 20,24 16,44! 46,36 80,48 82,80 50,100 10,92 / 24,4 54,2 86,2"),
        (4, "84,2 54,2 26,4! 22,24 18,46! 48,38 80,52 80,82 48,100 10,90"),
        (2, "80,6 46,6 26,20 40,38 70,50 78,76 50,98 12,92"),
        (2, "22,12 18,30 18,46! 52,40 82,56 76,88 40,100 8,88 / 18,8 50,4 90,0"),
        (1, "84,0 56,8 30,4! 24,44! 54,36 78,54 74,84 40,100 8,84"),
        (1, "26,6 16,46! 50,40 76,56 72,86 34,100 12,84 20,76 / 34,4 64,6 92,2"),
    ),
    (  # 6: round, narrow and steep, looped below, in two strokes
        (5, "66,0 34,20 14,56 20,88 50,100 80,86 78,60 50,52 20,68"),
        (3, "80,6 54,0 22,32 12,68 30,98 66,96 82,70 58,50 26,60 16,78"),
        (3, "56,0 30,34 18,70 34,98 66,96 76,74 52,58 26,74"),
        (2, "62,0 36,26 16,60 20,90 48,100 / 18,68 46,50 78,62 76,90 46,100"),
        (1, "44,0 24,40 18,76 40,100 72,90 70,66 44,60 24,84 34,98"),
    ),
    (  # 7: plain, crossed, with a serif, with a curved top, bent
        (4, "10,6 50,4 86,2! 60,46 40,100"),
        (4, "10,6 50,4 88,2! 60,50 42,100 / 28,50 54,48 84,46"),
        (2, "14,22 14,4! 50,6 86,4! 58,48 44,100"),
        (2, "12,22 16,6! 50,8 88,0! 62,46 44,100 / 32,52 56,48 80,48"),
        (2, "6,18 26,4 48,12 84,4! 60,40 46,100"),
        (1, "6,16 24,2 48,12 84,2! 62,40 46,100 / 30,54 52,48 84,50"),
        (1, "10,2 46,0 80,4 82,22 60,60 52,100"),
        (1, "10,2 48,2 84,2! 74,50 72,100 / 48,50 72,48 98,46"),
        (3, "14,28 20,8 46,0 74,8 66,38 40,100 / 24,66 52,60 92,58"),
        (2, "10,16 32,2 60,8 80,4! 56,44 34,100 / 14,70 48,64 84,66"),
        (3, "10,8 50,6 80,4! 62,46 44,100 / 20,70 56,64 98,62"),
        (2, "14,20 30,2 60,2 78,14 66,50 46,100 / 22,64 60,62 98,64"),
        (2, "6,12 40,4 74,10 58,56 30,100 / 28,58 62,62 98,70"),
        (3, "16,22 24,4 60,0 72,12 62,44 44,100 / 12,58 50,54 96,50"),
        (3, "10,20 28,4 62,4 70,16 54,54 30,98 / 8,64 54,58 100,56"),
    ),
    (  # 8: in one stroke from the right, from the middle, as two rings, open at the top
        (5, "78,14 50,0 24,14 30,36 54,50 80,70 76,92 48,100 20,90 20,70 50,48 76,32 74,10"),
        (2, "50,48 26,32 28,10 50,0 74,12 70,34 50,48 24,68 22,90 50,100 78,90 74,66 48,46"),
        (3, "50,0 26,10 26,36 50,47 74,36 74,10 * / 50,47 20,58 16,88 50,100 84,88 80,58 *"),
        (2, "82,6 54,0 26,14 34,38 62,56 78,80 54,100 24,88 30,64 58,42 86,4"),
        (1, "74,0 48,2 28,20 40,44 70,66 66,94 36,98 22,80 44,54 70,30 80,10"),
        (1, "22,6 40,40 74,78 60,100 34,94 30,76 58,44 82,4 54,0 20,2"),
        (1, "22,6 40,36 66,70 56,98 34,94 36,72 62,36 84,2"),
        (2, "6,46 34,44 66,28 68,8 46,2 36,18 46,42 62,66 58,92 38,100 28,84 44,62 92,42"),
        (2, "70,4 40,6 30,24 46,38 66,24 74,6! 58,50 40,84 44,100 58,90 56,66 42,40"),
        (2, "74,8 44,0 22,14 36,38 58,54 56,88 44,100 36,86 48,56 76,34 78,12"),
        (1, "66,10 44,0 24,14 38,32 64,30 74,14 66,34 40,54 18,80 46,100 74,84 60,58 38,44"),
    ),
    (  # 9: straight, with a hooked tail, a flat tail, in two strokes, a small head
        (4, "78,16 48,0 20,16 20,42 48,52 76,34 80,10! 76,54 68,100"),
        (4, "80,14 46,0 16,20 24,48 56,48 78,16! 82,56 66,96 32,100 10,86"),
        (3, "76,14 48,2 24,16 30,36 56,36 76,14! 80,50 84,84 50,100 8,98"),
        (3, "50,0 22,10 20,42 50,52 76,40 76,10 * / 78,8 80,50 72,96 44,100 14,94"),
        (2, "70,18 50,4 32,18 42,34 66,26 74,10! 74,50 70,84 44,100 12,92"),
        (2, "50,0 24,10 20,38 48,50 74,38 76,10 * / 77,6 76,50 74,100"),
        (2, "84,8 52,0 18,18 26,46 60,40 80,10! 64,58 40,100"),
        (1, "68,8 40,2 18,24 36,44 66,30 72,6! 84,60 70,94 36,96 44,76 92,66"),
        (4, "68,8 44,0 22,12 26,32 50,38 72,20! 80,50 80,78 50,100 8,92"),
        (2, "72,6 46,0 24,12 36,28 58,30 72,18! 86,50 70,92 36,100 6,86"),
        (2, "62,10 42,4 34,18 52,28 70,14! 78,44 88,74 54,98 4,96"),
        (3, "70,26 78,8 46,0 20,14 30,36 56,40 80,56 82,84 50,100 10,92"),
        (3, "66,38 78,16 50,0 22,14 24,38 50,48 70,62 68,84 62,100"),
        (2, "70,28 74,6 44,0 22,16 36,36 62,46 80,66 70,92 40,100 10,94 20,80 46,84"),
        (1, "24,100 44,60 56,20 76,2 92,12 84,32 60,38 48,28"),
        (3, "72,16 46,2 20,16 24,38 56,44 76,24! 82,56 80,84 52,100 18,92 14,80"),
    ),
)
# Without those that are digits too: B, b, D, g, I, i, j, l, O, q, S, s, Z, z, ...
LETTERS: tuple[str, ...] = (
    "8,100 50,0! 92,100 / 24,64 76,62",  # A
    "84,16 50,0 16,22 12,66 40,98 86,84",  # C
    "88,22 66,3 36,2 10,28 8,70 34,98 66,98 88,78",  # C, as it is printed
    "84,4 16,2! 14,50 14,98! 86,96 / 14,48 70,48",  # E
    "84,2 16,2! 16,100 / 16,48 70,48",  # F
    "84,16 50,0 14,30 18,84 56,100 86,84 86,56! 54,56",  # G
    "14,0 14,100 / 86,0 86,100 / 14,50 86,50",  # H
    "40,0 90,0 / 68,0 68,70 46,100 14,84",  # J
    "16,0 16,100 / 84,0 18,54! 86,100",  # K
    "16,0 16,99! 84,98",  # L
    "8,100 14,0! 50,64! 86,0! 94,100",  # M
    "14,100 14,0! 86,100! 86,0",  # N
    "18,100 18,0! 70,2 84,28 64,50 18,50",  # P
    "18,100 18,0! 70,2 82,26 60,46 18,48! 86,100",  # R
    "16,100 16,0! 64,1 82,24 64,48! 16,49 / 62,48 80,64 84,100",  # R, as it is printed
    "6,2 94,2 / 50,2 50,100",  # T
    "14,0 16,70 50,100 84,70 86,0",  # U
    "10,0 50,100! 90,0",  # V
    "2,0 26,100! 50,20! 74,100! 98,0",  # W
    "12,0 88,100 / 88,0 12,100",  # X
    "10,0 50,48! 90,0 / 50,48 50,100",  # Y
    "80,14 44,4 14,44 24,92 60,84 82,12! 80,70 94,98",  # a
    "18,24 36,4 66,4 80,24 80,100 / 80,44 44,48 16,66 20,92 48,98 80,76",  # a, as it is printed
    "70,52 44,38 16,56 18,88 48,98 70,78 / 72,0 73,60 78,100",  # d
    "12,52 80,42 66,8 28,14 10,60 34,98 84,84",  # e
    "10,48 90,48! 84,20 50,0 14,22 10,70 40,98 86,84",  # e, as it is printed
    "80,8 58,0 44,24 42,100 / 18,40 76,38",  # f
    "18,0 18,100! 22,64 52,44 74,60 76,100",  # h
    "18,0 18,100 / 72,38 22,66! 76,100",  # k
    "6,34 8,100! 10,50 32,36 46,54 48,100! 50,54 72,36 88,54 92,100",  # m
    "16,20 18,100! 22,44 52,20 78,40 80,100",  # n
    "22,2 22,100 / 22,14 52,0 80,18 76,48 46,58 22,46",  # p
    "20,30 20,100! 24,56 46,34 76,36",  # r
    "44,0 44,76 60,98 84,88 / 14,30 78,28",  # t
    "14,10 16,62 42,90 74,66 80,10! 82,90",  # u
    "4,20 12,90 34,90 48,40! 56,90 80,90 94,16",  # w
)
SIGNS: tuple[str, ...] = (
    "86,14 60,34 30,90 12,70 28,34 56,80 92,94",  # alpha
    "8,18 30,10 50,56 46,100 34,80 60,44 90,6",  # gamma
    "70,10 40,0 34,24 70,56 68,92 34,98 16,70 50,44",  # delta
    "80,14 44,4 24,28 56,46! 18,66 34,98 84,84",  # epsilon
    "22,4 76,4! 30,50 34,76 74,80 60,100",  # zeta
    "14,16 28,24 28,80! 36,34 66,22 76,50 74,100",  # eta
    "20,0 44,22 86,100 / 50,38 12,100",  # lambda
    "8,10 50,4 92,10 / 30,8 26,100 / 70,8 72,80 88,98",  # pi
    "50,30 16,44 16,84 50,98 86,84 86,44 * / 50,0 50,100",  # phi
    "10,16 16,66 50,80 84,66 90,16 / 50,0 50,100",  # psi
    "22,20 8,64 26,98 50,60! 72,98 92,64 78,20",  # omega
    "6,8 94,4! 20,50! 90,98! 8,96",  # Sigma
    "10,100 50,0! 90,100! 8,100",  # Delta
    "50,0 14,20 10,60 38,86 62,86 90,60 86,20 * / 20,46 80,46",  # Theta
    "8,50 92,50",  # minus
    "8,50 92,50 / 50,8 50,92",  # plus
    "8,34 92,32 / 8,66 92,68",  # equals
    "20,10 80,50! 20,90",  # greater
    "80,10 20,50! 80,90",  # less
    "20,24 50,0 78,20 52,54 50,74 / 50,94 52,98",  # question mark
    "30,0 22,100 / 74,0 66,100 / 6,34 94,32 / 4,68 92,66",  # hash
    "78,10 46,4 26,24 70,70 86,100 / 70,56 44,98 14,80 32,50 60,20",  # ampersand
    "64,60 40,66 36,40 62,34! 66,66 88,60 86,22 50,2 12,26 10,76 44,100 84,90",  # at
    "50,4 50,96 / 10,26 90,74 / 90,26 10,74",  # asterisk
    "8,8 92,8! 92,92! 8,92! 8,8",  # square
    "10,56 38,92! 92,6",  # tick
    "8,8 92,92 / 92,8 8,92 / 8,50 92,50",  # star of lines
    "50,96 10,40 24,8 50,30! 76,8 90,40 50,96",  # heart
    "50,0 14,14 0,50 14,86 50,100 86,86 100,50 86,14 * / 32,34 34,38 / 66,34 68,38 / 26,64 50,80 74,64",  # face
    "6,50 94,50! 66,24 / 94,50 66,76",  # arrow
    "50,98 50,4! 24,34 / 50,4 76,34",  # arrow upwards
    "50,0 20,14 14,50 20,86 50,100 80,86 86,50 80,14 * / 20,20 80,80 / 80,20 20,80",  # a ring, crossed out
    "4,40 18,20 34,40 50,60 66,40 82,20 96,40",  # wave
    "0,100 14,10! 28,90! 44,10! 58,90! 74,10! 88,90! 98,4",  # zigzag
    "50,50 56,42 62,52 48,62 36,46 52,30 76,48 60,80 24,74 14,36 44,8 92,28",  # spiral
    "10,0 10,98! 90,98! 90,0",  # a box, open
    "26,0 26,100 / 74,0 74,100",  # two strokes
    "10,20 90,18 / 18,52 82,50 / 6,86 94,84",  # three strokes
)
SIDES = (16, 24, 40, 64, 96)  # pixels of the pictures written on; small ones are as coarse as old scanners' bitmaps
BATCH = 200  # pictures of one size

NONE = -1  # the label of what is no digit

Stroke = np.ndarray  # float (n, 2): x and y of the points the pen passes
Form = list[tuple[np.ndarray, np.ndarray, bool]]


def parse(form: str) -> Form:
    """The strokes of a form: points, float (n, 2) in [0, 1]; which are corners, bool (n,); whether it is a ring."""
    strokes = []
    for stroke in form.split("/"):
        words = [word for word in stroke.split() if word != "*"]
        points = np.array([[float(number) for number in word.rstrip("!").split(",")] for word in words]) / 100
        strokes.append((points, np.array([word.endswith("!") for word in words]), stroke.rstrip().endswith("*")))
    return strokes


_DIGITS = [([parse(form) for _, form in forms], np.array([often for often, _ in forms])) for forms in DIGITS]
_LETTERS, _SIGNS = ([parse(form) for form in forms] for forms in (LETTERS, SIGNS))


def _smooth(points: np.ndarray, corners: np.ndarray, between: int = 8) -> Stroke:
    """A Catmull-Rom spline through the points, with `between` steps from one to the next, straight out of corners."""
    before = np.concatenate([2 * points[:1] - points[1:2], points[:-2], points[-2:-1]])[: len(points) - 1]
    after = np.concatenate([points[2:], 2 * points[-1:] - points[-2:-1]])
    start, stop = points[:-1], points[1:]
    before = np.where(corners[:-1, None], 2 * start - stop, before)
    after = np.where(corners[1:, None], 2 * stop - start, after)
    t = np.linspace(0, 1, between, endpoint=False)[None, :, None]
    start, stop, before, after = (part[:, None] for part in (start, stop, before, after))
    curve = 0.5 * (
        2 * start + (stop - before) * t
        + (2 * before - 5 * start + 4 * stop - after) * t**2
        + (3 * start - before - 3 * stop + after) * t**3
    )  # fmt: skip
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def write(form: Form, random: np.random.Generator, width: float = 0.67) -> list[Stroke]:
    """The form in one person's hand: strokes in no particular place or size, about `width` times as wide as high."""
    unsteady = random.uniform(0, 0.1) if random.random() < 0.2 else 1.0  # some draw as if with a ruler
    jitter = random.uniform(0.005, 0.045) * unsteady
    strokes = []
    for points, corners, ring in form:
        if ring:  # begun anywhere, closed with a gap or an overlap
            points = np.roll(points, random.integers(len(points)) if random.random() < 0.4 else 0, 0)
            points = np.concatenate([points, points[: random.integers(1, 3)]])
            corners = np.zeros(len(points), bool)
        points = points + random.normal(0, jitter, points.shape) + random.normal(0, jitter / 2, 2)
        curve = _smooth(points, corners)
        if random.random() < 0.3:  # cut short or begun late
            curve = curve[random.integers(0, 4) : len(curve) - random.integers(0, 4)]
        strokes.append(curve)
    # A slow wave through the whole, as no hand draws evenly.
    wave = random.normal(0, 0.02, (2, 2)) * unsteady
    phase = random.uniform(0, 2 * np.pi, 2)
    slant, turn = random.normal(0.12, 0.2) * unsteady, random.normal(0, 0.09) * unsteady
    matrix = np.array([[width * np.exp(random.normal(0, 0.27)), -slant], [0, 1]])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = turned @ matrix
    return [(s + np.sin(s[:, ::-1] * 6 + phase) @ wave) @ matrix.T for s in strokes]


def draw(strokes: list[Stroke], side: int, random: np.random.Generator) -> np.ndarray:
    """The strokes on a picture, uint8 (side, side), light on black, by a pen of some width, shape and pressure."""
    points = np.concatenate(strokes)
    low, high = points.min(0), points.max(0)
    width = np.exp(random.uniform(np.log(0.02), np.log(0.22))) * side  # of the pen
    room = max(side - width - 2, side / 2)
    scale = room / max(*(high - low), 1e-3)
    offset = (side - (high - low) * scale) / 2 - low * scale
    flat, lean = (random.uniform(0.3, 1), random.uniform(0, np.pi)) if random.random() < 0.3 else (1.0, 0.0)
    pressure = random.uniform(0, 0.5) if random.random() < 0.3 else 0.0
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        path = stroke * scale + offset
        if random.random() < 0.15:  # a mouse is asked seldom: straight from one place to the next
            path = np.concatenate([path[:: random.integers(4, 9)], path[-1:]])
        ways = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
        angle = np.arctan2(ways[:, 1], ways[:, 0]) - lean
        widths = width * np.sqrt(np.sin(angle) ** 2 + (flat * np.cos(angle)) ** 2)
        widths = widths * (1 - pressure * (0.5 + 0.5 * np.sin(np.linspace(0, random.uniform(1, 6), len(path)))))
        places = list(map(tuple, path.tolist()))
        for (x, y), (x2, y2), w in zip(places, [*places[1:], places[-1]], widths.tolist(), strict=True):
            if w > 1.5:
                pen.ellipse((x - w / 2, y - w / 2, x + w / 2, y + w / 2), fill=255)
            pen.line((x, y, x2, y2), fill=255, width=max(1, round(w)))
    box = image.getbbox()
    if box and random.random() < 0.15:  # as some scanners left it: cut out and stretched to fill a square, or nearly
        wide = side if random.random() < 0.6 else random.integers(side // 3, side + 1)
        image = image.crop(box).resize((int(wide), side), Image.Resampling.BOX)
        return np.asarray(ImageOps.pad(image, (side, side)))
    return np.asarray(image)


def write_digit(label: int, random: np.random.Generator) -> list[Stroke]:
    """One of the digit's forms, written."""
    forms, often = _DIGITS[label]
    return write(forms[random.choice(len(forms), p=often / often.sum())], random)


def _moved(strokes: list[Stroke], x: float, y: float, scale: float = 1) -> list[Stroke]:
    low = np.concatenate(strokes).min(0)
    return [(stroke - low) * scale + (x, y) for stroke in strokes]


def _invented(random: np.random.Generator) -> list[Stroke]:
    """A character of no script: two to five strokes, most of them hung on one before."""
    strokes: list[Stroke] = []
    for _ in range(random.integers(2, 6)):
        count = random.integers(2, 6)
        way = random.uniform(0, 2 * np.pi) if random.random() < 0.4 else random.integers(4) * np.pi / 2
        ways = way + np.cumsum(random.normal(0, random.choice([0.1, 0.8, 1.6]), count))
        steps = np.stack([np.cos(ways), np.sin(ways)], 1) * random.uniform(0.1, 0.5, (count, 1))
        start = random.uniform(0, 1, 2)
        if strokes and random.random() < 0.7:
            other = strokes[random.integers(len(strokes))]
            start = other[random.integers(len(other))]
        points = np.concatenate([[start], start + np.cumsum(steps, 0)])
        strokes.append(_smooth(points, random.random(len(points)) < 0.3))
    return strokes


def _scribble(random: np.random.Generator) -> list[Stroke]:
    """A line with no aim, over itself again and again, in loops, or to and fro."""
    count = random.integers(14, 44)  # with fewer it may well be a digit
    kind = random.random()
    if kind < 0.25:
        points = np.cumsum(random.normal(0, 1, (count, 2)), 0)
    elif kind < 0.5:
        points = random.normal(0, 1, (count, 2)) * random.uniform(0.5, 1, 2)
    elif kind < 0.75:  # the bend itself wanders
        ways = np.cumsum(random.normal(0, 0.5) + np.cumsum(random.normal(0, 0.25, count)))
        points = np.cumsum(np.stack([np.cos(ways), np.sin(ways)], 1) * random.uniform(0.3, 1, (count, 1)), 0)
    else:
        across = np.where(np.arange(count) % 2, 1.0, 0) + random.normal(0, 0.1, count)
        # As wide as long, or nearly: filled in, a slim one would be a 1.
        points = np.stack([across, np.linspace(0, random.uniform(0.6, 1.2), count)], 1)
        points = points[:, ::-1] if random.random() < 0.3 else points
    return [_smooth(points, np.zeros(count, bool))]


def _is_upright_line(strokes: list[Stroke]) -> bool:
    """Whether all points lie near one line that is steeper than it is flat: as a whole it would be a 1."""
    points = np.concatenate(strokes)
    (narrow, long), axes = np.linalg.eigh(np.cov(points.T))  # the second axis is the one along which they spread
    return narrow < 0.02 * long and abs(axes[1, 1]) > 0.6


def write_none(random: np.random.Generator) -> list[Stroke]:
    """What is no digit: letters and signs, invented ones, scribbles, dots, two digits, digits crossed out."""
    strokes = _none(random)
    return write_none(random) if _is_upright_line(strokes) else strokes


def _none(random: np.random.Generator) -> list[Stroke]:
    kind = random.choice(6, p=[0.44, 0.17, 0.17, 0.04, 0.09, 0.09])
    if kind == 0:
        forms = _LETTERS if random.random() < 0.65 else _SIGNS
        return write(forms[random.integers(len(forms))], random, width=0.85)  # wider than digits, above all in print
    if kind == 1:
        return _invented(random)
    if kind == 2:
        return _scribble(random)
    if kind == 3:
        return [np.zeros((2, 2))]  # one place exactly: `draw` makes a line of the least stroke
    digit, other = (_moved(write_digit(int(random.integers(10)), random), 0, 0) for _ in range(2))
    size = np.concatenate(digit).max(0)
    if kind == 4:  # side by side, near or touching
        return digit + _moved(other, size[0] + random.uniform(0, 0.3), random.normal(0, 0.1), random.uniform(0.7, 1.2))
    if random.random() < 0.4:
        (over,) = _moved(_scribble(random), 0, 0)
        return [*digit, over / over.max(0) * size * random.uniform(0.8, 1.2, 2)]
    # Two lines: one alone, on the pad, leaves a digit what it is.
    corners = np.array([[0, 0], [1, 1], [1, 0], [0, 1]]) * size
    corners = corners + random.normal(0, 0.1, corners.shape)
    return [*digit, *(_smooth(pair, np.zeros(2, bool)) for pair in (corners[:2], corners[2:]))]


def synthetic_batches(digits: int, none: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of pictures of one size, uint8 (N, S, S), and their labels, int64 (N,): all ten digits, and -1 for none.

    The same for the same seed.
    """
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(digits) % 10, np.full(none, NONE)])
    shuffled = random.permutation(labels)
    for start in range(0, len(shuffled), BATCH):
        part = shuffled[start : start + BATCH]
        side = int(random.choice(SIDES))
        strokes = (write_none(random) if label == NONE else write_digit(int(label), random) for label in part)
        yield np.stack([draw(one, side, random) for one in strokes]), part
