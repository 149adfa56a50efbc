"""The example on Ray, on a cluster of two machines (here: on this one): every row comes out once, whoever is killed."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from digitnet import DigitClassifier
from tests.conftest import ROOT
from tests.images import draw_digit, encode_image

pytestmark = pytest.mark.slow

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs Ray: pip install '.[ray]'", allow_module_level=True)
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install '.[ray]'")
pyarrow = pytest.importorskip("pyarrow")
if not Path("/proc/self/environ").exists():
    pytest.skip("needs /proc, to find the processes to kill", allow_module_level=True)

EXAMPLE = ROOT / "examples" / "ray" / "read_digits.py"
PICTURES, BLOCKS = 8 * 1024, 8  # of these the example makes so many blocks, each a file of the output
DEADLINE = 120  # seconds for what takes five on a quiet machine
# Ray runs in processes of its own: none of its threads, signal handlers and warnings in the one of the tests.
MACHINES = """
import sys
from ray.cluster_utils import Cluster

machine = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args=machine)
print(cluster.address, flush=True)
for _ in sys.stdin:  # a line asks for another machine; the end of lines, for the end
    print(cluster.add_node(**machine).all_processes["raylet"][0].process.pid, flush=True)
cluster.shutdown()
"""


class RayCluster:
    """Two machines of one CPU each, as far as Ray knows, in a `with` statement. All of it on 127.0.0.1."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))  # not tmp_path: a socket's path has 107 characters at most
        self.token = secrets.token_hex(32)  # Ray's password; marks the processes that are ours, too
        self.environment = {
            **os.environ,
            "RAY_TMPDIR": str(self.folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as there, it takes 127.0.0.1 at its word, and stays on it
            "RAY_health_check_period_ms": "500",  # a dead machine is missed after 2 seconds, not 15
            "RAY_health_check_failure_threshold": "3",
        }
        self.machines = subprocess.Popen(
            [sys.executable, "-c", MACHINES],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment,
        )  # fmt: skip
        self.address = self.machines.stdout.readline().strip()
        assert self.address.startswith("127.0.0.1:")
        self.add_machine()
        return self

    def add_machine(self) -> None:
        self.machines.stdin.write("\n")
        self.machines.stdin.flush()
        self.second_machine = int(self.machines.stdout.readline())

    def __exit__(self, *_) -> None:
        self.machines.communicate(timeout=DEADLINE)
        wait_until(lambda: not self.processes(), "Ray's processes end")
        shutil.rmtree(self.folder)

    def processes(self, name: str = "") -> dict[int, bool]:
        """The processes of this cluster with such a name, and whether they are on the second machine."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
                if f"RAY_AUTH_TOKEN={self.token}".encode() in environment and name in (folder / "cmdline").read_text():
                    found[int(folder.name)] = f"RAY_RAYLET_PID={self.second_machine}".encode() in environment
            except OSError:  # ended in the meantime, or another user's
                continue
        return found

    def actors(self) -> dict[int, bool]:
        return self.processes("ray::MapWorker(MapBatches(ReadDigits))")

    def start(self, *args) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, EXAMPLE, *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster():
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder of pictures of 1 and 7 in turn."""
    folder = tmp_path_factory.mktemp("many")
    for digit in (1, 7):
        draw_digit(digit, 240).save(folder.parent / f"{digit}.png")
    for i in range(PICTURES):  # links, since pytest takes half a minute to remove as many files
        os.link(folder.parent / f"{(1, 7)[i % 2]}.png", folder / f"{i:05}.png")
    return folder


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # those on a machine follow it by themselves
            os.kill(pid, signal.SIGKILL)


def ended_well(process: subprocess.Popen) -> str:
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def test_each_picture_of_a_folder_is_one_row_and_one_that_cannot_be_read_says_why(cluster, tmp_path):
    source, goal = tmp_path / "scans", tmp_path / "rows"
    (source / "below").mkdir(parents=True)
    for i, digit in enumerate([1, 7, 7]):
        draw_digit(digit, 40 + i).save(source / "below" / f"{i}.PNG")
    draw_digit(1, 28).convert("L").point(lambda _: 255).save(source / "_blank.png")
    (source / "bad.png").write_text("no picture")
    (source / "notes.txt").write_text("no picture either")
    out = ended_well(cluster.start(source, goal))  # without --address: a cluster of its own
    assert out == f"5 rows in {goal}, 1 of them with an error\n"
    table = parquet.read_table(goal)
    assert table.column_names == ["file", "label", "confidence", "error"]
    rows = {Path(row["file"]): row for row in table.to_pylist()}
    bad = rows.pop(source / "bad.png")
    assert "not a picture" in bad["error"]
    assert bad["label"] is bad["confidence"] is None
    read = DigitClassifier()
    assert {path: row["label"] for path, row in rows.items()} == {path: read(path).label for path in rows}
    assert [rows[source / "below" / f"{i}.PNG"]["label"] for i in range(3)] == [1, 7, 7]
    assert rows[source / "_blank.png"]["label"] is None
    assert all(row["error"] is None for row in rows.values())


@pytest.mark.parametrize("structs", [False, True], ids=["bytes", "structs, as Hugging Face's datasets have them"])
def test_the_other_columns_of_parquet_are_kept(cluster, tmp_path, structs):
    source, goal = tmp_path / "tables", tmp_path / "rows"
    source.mkdir()
    images = [encode_image(draw_digit(1), "PNG"), encode_image(draw_digit(7), "JPEG"), b"no picture", None]
    if structs:
        images = [{"bytes": image, "path": None} for image in images]
    for part in range(2):
        table = {"image": images, "id": [4 * part + i for i in range(4)], "place": [["a", "b"]] * 4}
        parquet.write_table(pyarrow.table(table), source / f"{part}.parquet")
    ended_well(cluster.start(source, goal, "--address", cluster.address))
    rows = sorted(parquet.read_table(goal).to_pylist(), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(8))
    assert [row["label"] for row in rows] == [1, 7, None, None] * 2
    assert [row["error"] is None for row in rows] == [True, True, False, False] * 2
    assert all(row["place"] == ["a", "b"] and "image" not in row for row in rows)


@pytest.mark.parametrize("whole_machine", [False, True], ids=["an actor", "a machine"])
def test_rows_in_are_rows_out_when_one_is_killed_in_the_middle(cluster, many, tmp_path, whole_machine):
    goal = tmp_path / "rows"
    process = cluster.start(many, goal, "--address", cluster.address)
    try:
        wait_until(
            lambda: process.poll() is not None or (list(goal.glob("*.parquet")) and len(cluster.actors()) == 2),
            "both actors are there and rows are written",
        )
        actors = cluster.actors()
        assert sorted(actors.values()) == [False, True], "one actor on each machine"
        if whole_machine:
            on_it = [pid for pid, second in cluster.processes().items() if second]
            kill([cluster.second_machine, *on_it])
        else:
            kill([next(iter(actors))])
        assert process.poll() is None
        assert 1 <= len(list(goal.glob("*.parquet"))) < BLOCKS - 2, "it was in the middle"
        wait_until(
            lambda: process.poll() is not None or cluster.actors().keys() - actors.keys(), "another actor starts"
        )
        assert process.poll() is None, "nobody took its place"
        out = ended_well(process)  # Ray tells on it of what was killed
        assert out.splitlines()[-1] == f"{PICTURES:,} rows in {goal}, 0 of them with an error"
    finally:
        process.kill()
        if whole_machine:
            cluster.add_machine()
    table = parquet.read_table(goal, columns=["file", "label", "error"])
    rows = dict(zip(table["file"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert len(table) == len(rows) == PICTURES
    assert rows == {str(path): (1, 7)[int(path.stem) % 2] for path in many.iterdir()}
    assert table["error"].null_count == len(table)


@pytest.mark.parametrize(
    ("source", "goal", "says"),
    [
        ("scans", "full", "holds"),
        ("nothing", "rows", "no rows of Parquet there, nor pictures"),
        ("labelled.parquet", "rows", "none of ['label', 'confidence', 'error']"),
        ("torn.parquet", "rows", "torn.parquet: "),
        ("paths.parquet", "rows", "has string in `image`; wanted the bytes of picture files"),
        ("mixed", "rows", "holds pictures and Parquet, 1 and 1; name one"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path, source, goal, says):
    for name in ("scans", "full", "mixed"):
        (tmp_path / name).mkdir()
        draw_digit(7).save(tmp_path / name / "seven.png")
    parquet.write_table(pyarrow.table({"image": [b""], "label": [7]}), tmp_path / "labelled.parquet")
    for name in ("paths.parquet", "mixed/a.parquet"):
        parquet.write_table(pyarrow.table({"image": ["/etc/passwd"]}), tmp_path / name)
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "labelled.parquet").read_bytes()[:-9])
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, EXAMPLE, tmp_path / source, tmp_path / goal]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert sorted(tmp_path.rglob("*")) == before


def test_the_ray_example_needs_no_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r}); import read_digits; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
