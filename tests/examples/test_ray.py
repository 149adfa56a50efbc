"""The Ray example on a cluster of two nodes on this machine: each record is written once, even if a node is killed."""

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

EXAMPLE = ROOT / "examples" / "ray" / "classify_digits.py"
IMAGES, BLOCKS = 8 * 1024, 8  # the number of blocks that the example makes of them, each a file of the output
DEADLINE = 360  # seconds for what takes five on an idle machine, and two minutes on a slow and busy one
# Ray runs in separate processes, so that its threads, signal handlers and warnings do not affect the tests.
NODES = """
import sys
from ray.cluster_utils import Cluster

machine = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 10**8}
cluster = Cluster(initialize_head=True, head_node_args=machine)
print(cluster.address, flush=True)
for _ in sys.stdin:  # each line requests another node; the end of the input ends the cluster
    print(cluster.add_node(**machine).all_processes["raylet"][0].process.pid, flush=True)
cluster.shutdown()
"""


class RayCluster:
    """A cluster of two nodes with one CPU each, on 127.0.0.1, as a context manager."""

    def __enter__(self):
        self.directory = Path(
            tempfile.mkdtemp(prefix="ray-")
        )  # not tmp_path: a socket's path has 107 characters at most
        self.token = secrets.token_hex(32)  # Ray's password; it also marks the processes of this cluster
        self.environment = {
            **os.environ,
            "RAY_TMPDIR": str(self.directory),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # otherwise it would use another address
            "RAY_health_check_period_ms": "500",  # a failed node is noticed after 2 seconds instead of 15
            "RAY_health_check_failure_threshold": "3",
        }
        self.nodes = subprocess.Popen(
            [sys.executable, "-c", NODES],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment,
        )  # fmt: skip
        self.address = self.nodes.stdout.readline().strip()
        assert self.address.startswith("127.0.0.1:")
        self.add_node()
        return self

    def add_node(self) -> None:
        self.nodes.stdin.write("\n")
        self.nodes.stdin.flush()
        self.second_node = int(self.nodes.stdout.readline())

    def __exit__(self, *_) -> None:
        self.nodes.communicate(timeout=DEADLINE)
        wait_until(lambda: not self.processes(), "the processes of Ray end")
        shutil.rmtree(self.directory)

    def processes(self, name: str = "") -> dict[int, bool]:
        """Return the processes of this cluster with a name, and whether they are on the second node."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes().split(b"\0")
                if (
                    f"RAY_AUTH_TOKEN={self.token}".encode() in environment
                    and name in (directory / "cmdline").read_text()
                ):
                    found[int(directory.name)] = f"RAY_RAYLET_PID={self.second_node}".encode() in environment
            except OSError:  # it has ended, or belongs to another user
                continue
        return found

    def actors(self) -> dict[int, bool]:
        return self.processes("ray::MapWorker(MapBatches(ClassifyDigits))")

    def start(self, *args) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, EXAMPLE, *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"timeout: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster():
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A directory of images of 1 and 7 in turn."""
    directory = tmp_path_factory.mktemp("many")
    for digit in (1, 7):
        draw_digit(digit, 240).save(directory.parent / f"{digit}.png")
    for i in range(IMAGES):  # links, because pytest takes half a minute to remove as many files
        os.link(directory.parent / f"{(1, 7)[i % 2]}.png", directory / f"{i:05}.png")
    return directory


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the processes of a node end with it
            os.kill(pid, signal.SIGKILL)


def ended_well(process: subprocess.Popen) -> str:
    try:
        out, err = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return out


def test_each_image_of_a_directory_is_one_record_with_the_reason_if_it_cannot_be_decoded(cluster, tmp_path):
    source, output = tmp_path / "scans", tmp_path / "records"
    (source / "below").mkdir(parents=True)
    for i, digit in enumerate([1, 7, 7]):
        draw_digit(digit, 40 + i).save(source / "below" / f"{i}.PNG")
    draw_digit(1, 28).convert("L").point(lambda _: 255).save(source / "_blank.png")
    (source / "bad.png").write_text("not an image")
    (source / "notes.txt").write_text("not an image either")
    out = ended_well(cluster.start(source, output))  # without --address: a cluster on this machine
    assert out == f"5 records in {output}, 1 of them with an error\n"
    table = parquet.read_table(output)
    assert table.column_names == ["file", "label", "confidence", "error"]
    records = {Path(record["file"]): record for record in table.to_pylist()}
    bad = records.pop(source / "bad.png")
    assert "not an image" in bad["error"]
    assert bad["label"] is bad["confidence"] is None
    classifier = DigitClassifier()
    assert {path: record["label"] for path, record in records.items()} == {
        path: classifier(path).label for path in records
    }
    assert [records[source / "below" / f"{i}.PNG"]["label"] for i in range(3)] == [1, 7, 7]
    assert records[source / "_blank.png"]["label"] is None
    assert all(record["error"] is None for record in records.values())


@pytest.mark.parametrize("structs", [False, True], ids=["bytes", "structs as in datasets of Hugging Face"])
def test_the_other_columns_of_parquet_are_kept(cluster, tmp_path, structs):
    source, output = tmp_path / "tables", tmp_path / "records"
    source.mkdir()
    images = [encode_image(draw_digit(1), "PNG"), encode_image(draw_digit(7), "JPEG"), b"not an image", None]
    if structs:
        images = [{"bytes": image, "path": None} for image in images]
    for part in range(2):
        table = {"image": images, "id": [4 * part + i for i in range(4)], "place": [["a", "b"]] * 4}
        parquet.write_table(pyarrow.table(table), source / f"{part}.parquet")
    ended_well(cluster.start(source, output, "--address", cluster.address))
    records = sorted(parquet.read_table(output).to_pylist(), key=lambda record: record["id"])
    assert [record["id"] for record in records] == list(range(8))
    assert [record["label"] for record in records] == [1, 7, None, None] * 2
    assert [record["error"] is None for record in records] == [True, True, False, False] * 2
    assert all(record["place"] == ["a", "b"] and "image" not in record for record in records)


@pytest.mark.parametrize("whole_node", [False, True], ids=["an actor", "a node"])
def test_each_record_is_written_once_if_an_actor_or_a_node_is_killed(cluster, many, tmp_path, whole_node):
    output = tmp_path / "records"
    process = cluster.start(many, output, "--address", cluster.address)
    try:
        wait_until(
            lambda: process.poll() is not None or (list(output.glob("*.parquet")) and len(cluster.actors()) == 2),
            "both actors run and records are written",
        )
        actors = cluster.actors()
        assert sorted(actors.values()) == [False, True], "one actor on each node"
        if whole_node:
            processes = [pid for pid, second in cluster.processes().items() if second]
            kill([cluster.second_node, *processes])
        else:
            kill([next(iter(actors))])
        assert process.poll() is None
        assert 1 <= len(list(output.glob("*.parquet"))) < BLOCKS - 2, "it had not finished"
        wait_until(
            lambda: process.poll() is not None or cluster.actors().keys() - actors.keys(), "another actor starts"
        )
        assert process.poll() is None, "it was not replaced"
        out = ended_well(process)  # Ray reports what was killed
        assert out.splitlines()[-1] == f"{IMAGES:,} records in {output}, 0 of them with an error"
    finally:
        process.kill()
        if whole_node:
            cluster.add_node()
    table = parquet.read_table(output, columns=["file", "label", "error"])
    records = dict(zip(table["file"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert len(table) == len(records) == IMAGES
    assert records == {str(path): (1, 7)[int(path.stem) % 2] for path in many.iterdir()}
    assert table["error"].null_count == len(table)


@pytest.mark.parametrize(
    ("source", "output", "expected"),
    [
        ("scans", "full", "expected an empty directory"),
        ("nothing", "records", "no records of Parquet and no images"),
        ("labeled.parquet", "records", "expected a column `image` and none of ['label', 'confidence', 'error']"),
        ("damaged.parquet", "records", "damaged.parquet: "),
        ("paths.parquet", "records", "expected the content of image files in column `image`"),
        ("mixed", "records", "has 1 images and 1 Parquet files"),
    ],
)
def test_invalid_inputs_get_one_line(tmp_path, source, output, expected):
    for name in ("scans", "full", "mixed"):
        (tmp_path / name).mkdir()
        draw_digit(7).save(tmp_path / name / "seven.png")
    parquet.write_table(pyarrow.table({"image": [b""], "label": [7]}), tmp_path / "labeled.parquet")
    for name in ("paths.parquet", "mixed/a.parquet"):
        parquet.write_table(pyarrow.table({"image": ["/etc/passwd"]}), tmp_path / name)
    (tmp_path / "damaged.parquet").write_bytes((tmp_path / "labeled.parquet").read_bytes()[:-9])
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, EXAMPLE, tmp_path / source, tmp_path / output]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert sorted(tmp_path.rglob("*")) == before


def test_the_ray_example_needs_no_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r}); import classify_digits;"
        " print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
