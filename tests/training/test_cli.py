import json
import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch
import yaml

import train
from digitnet.training.checkpoint import read_checkpoint
from tests.conftest import ROOT


@pytest.fixture
def run(tiny_mnist, tmp_path, monkeypatch):
    """Runs train.py's main in this process, below tmp_path/root, on made data."""

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["train.py"])  # Lightning warns where both it and args are given
        train.main([*tiny_mnist.options(tmp_path / "root"), "--trainer.max_epochs=2", *options])

    run.root = tmp_path / "root"
    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_command_trains_tests_and_reports(run, capsys):
    run("--seed_everything=7")
    assert names(run.root / "checkpoints") == ["best.ckpt", "config.yaml", "last.ckpt"]
    assert names(run.root / "reports") == [
        "confusion.png", "curves.png", "metrics.json", "mistakes.png", "samples.png",
    ]  # fmt: skip
    figures = json.loads((run.root / "reports" / "metrics.json").read_text())
    assert figures["test_accuracy"] > 0.9, "the made images are easy"
    assert 0 < figures["val_accuracy"] <= 1
    assert (figures["seed"], figures["epochs"]) == (7, 2)
    assert figures["fit_seconds"] > 0
    assert figures["images_per_second"] > 0
    assert "test_loss" in figures
    assert "torch_version" in figures
    assert len([name for name in figures if name.startswith("test_accuracy_of_")]) == 10
    assert not any(isinstance(value, (dict, list)) for value in figures.values()), "flat keys"
    printed = capsys.readouterr().out
    assert printed.count("epoch 1/2") == printed.count("epoch 2/2") == 1, "a plain line an epoch"
    assert f"Test accuracy {figures['test_accuracy']:.2%}" in printed


def test_every_epoch_is_logged_for_tensorboard_and_as_csv(run):
    run()
    (table,) = (run.root / "logs" / "csv").glob("*/metrics.csv")
    header = table.read_text().splitlines()[0].split(",")
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "learning_rate", "epoch"} <= set(header)
    assert list((run.root / "logs" / "tensorboard").glob("*/events.out.*"))


def test_a_second_run_leaves_one_best_checkpoint_its_own(run):
    run("--trainer.max_epochs=3")
    run("--trainer.max_epochs=1", "--model.learning_rate=1e-5")  # hardly learns: worse than what is there
    assert names(run.root / "checkpoints") == ["best.ckpt", "config.yaml", "last.ckpt"]
    best = read_checkpoint(run.root / "checkpoints" / "best.ckpt")
    assert best["hyper_parameters"]["learning_rate"] == 1e-5


def test_a_run_that_diverges_says_so_and_is_not_tested_with_another_runs_network(run, capsys):
    run("--trainer.max_epochs=1")
    capsys.readouterr()
    (run.root / "reports" / "metrics.json").unlink()
    with pytest.raises(SystemExit) as caught:
        run("--model.learning_rate=1e30", "--data.augmentation=false")
    assert caught.value.code == 1
    assert "training diverged. Try less than --model.learning_rate 1e+30" in capsys.readouterr().err
    assert not (run.root / "reports" / "metrics.json").exists()


def test_a_checkpoint_holds_no_path_and_names_no_code(run):
    run()
    checkpoint = read_checkpoint(run.root / "checkpoints" / "last.ckpt")  # weights-only, else this raises
    text = repr({key: value for key, value in checkpoint.items() if key != "state_dict"})
    assert str(run.root) not in text
    assert "_instantiator" not in text


def test_a_run_can_be_resumed_for_more_epochs_than_it_was_begun_with(run):
    run()
    last = run.root / "checkpoints" / "last.ckpt"
    run(f"--ckpt_path={last}", "--trainer.max_epochs=3")
    assert read_checkpoint(last)["epoch"] == 2
    assert json.loads((run.root / "reports" / "metrics.json").read_text())["epochs"] == 3


@pytest.mark.parametrize("more", [0, 1])
def test_a_run_resumed_elsewhere_takes_its_best_network_along(run, tmp_path, more):
    """Also where another run's best.ckpt lies there, and where nothing is left to train."""
    run("--seed_everything=1")
    own = read_checkpoint(run.root / "checkpoints" / "best.ckpt")["state_dict"]
    elsewhere = tmp_path / "elsewhere"
    run("--seed_everything=2", f"--trainer.default_root_dir={elsewhere}")
    last = run.root / "checkpoints" / "last.ckpt"
    # So slow that no later epoch is better: the learning rate at the end of a run is 0.
    resumed = ["--seed_everything=1", f"--ckpt_path={last}", f"--trainer.default_root_dir={elsewhere}"]
    run(*resumed, f"--trainer.max_epochs={2 + more}")
    figures = json.loads((elsewhere / "reports" / "metrics.json").read_text())
    best = read_checkpoint(elsewhere / "checkpoints" / "best.ckpt")["state_dict"]
    if figures["best_epoch"] <= 2:
        assert all(torch.equal(weight, best[name]) for name, weight in own.items())
    assert figures["epochs"] == 2 + more
    assert figures["seed"] == 1


def test_the_saved_config_repeats_the_run_bit_for_bit(run, tmp_path):
    run("--model.dropout=0.4", "--seed_everything=3")
    config = run.root / "checkpoints" / "config.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["model"]["dropout"] == 0.4
    assert "ckpt_path" not in saved
    train.main([f"--config={config}", f"--trainer.default_root_dir={tmp_path / 'again'}"])
    first, again = (read_checkpoint(root / "checkpoints" / "last.ckpt") for root in (run.root, tmp_path / "again"))
    for name, weight in first["state_dict"].items():
        assert torch.equal(weight, again["state_dict"][name])


def test_training_stops_early_only_when_asked_to(run):
    run("--trainer.max_epochs=12", "--trainer.early_stopping_patience=1")
    stopped = json.loads((run.root / "reports" / "metrics.json").read_text())["epochs"]
    run("--trainer.max_epochs=12")
    assert stopped < 12 == json.loads((run.root / "reports" / "metrics.json").read_text())["epochs"]


def test_help_names_the_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        train.main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    options = (
        "max_epochs accelerator devices num_nodes strategy precision deterministic early_stopping_patience"
        " ckpt_path seed_everything config print_config batch_size val_fraction data_dir learning_rate dropout"
    )
    for option in options.split(" "):
        assert option in text


def test_print_config_prints_what_config_takes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--model.dropout=0.3", "--print_config"])
    with pytest.raises(SystemExit) as caught:
        train.main()
    assert caught.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["dropout"] == 0.3


BAD = {
    "unknown option": (["--data.batchsize=3"], "batchsize"),
    "not a number": (["--data.batch_size=many"], "many"),
    "no batch": (["--data.batch_size=0"], "data.batch_size is 0; it must be 1 or more"),
    "negative learning rate": (["--model.learning_rate=-1"], "model.learning_rate is -1"),
    "nothing to train on": (["--data.val_fraction=1"], "data.val_fraction is 1.0"),
    "no epochs": (["--trainer.max_epochs=0"], "trainer.max_epochs is 0"),
    "precision": (["--trainer.precision=12"], "12"),
    "accelerator": (["--trainer.accelerator=abacus"], "accelerator abacus"),
    "devices": (["--trainer.devices=some"], "devices some"),
    "strategy": (["--trainer.strategy=luck"], "strategy luck"),
    "16 bits without a GPU": (["--trainer.precision=16-mixed"], "16-mixed takes a GPU"),
    "no TPU": (["--trainer.accelerator=tpu"], "accelerator tpu"),
    "no callback": (["--trainer.callbacks=[1]"], "trainer.callbacks has 1"),
    "nameless folder": (["--data.data_dir="], "data.data_dir is empty"),
    "a folder for a checkpoint": (["--ckpt_path=tests"], "tests is a folder"),
    "seed": (["--seed_everything=-1"], "seed_everything is -1"),
    "missing config": (["--config=no.yaml"], "no.yaml"),
    "missing checkpoint": (["--ckpt_path=no.ckpt"], "No checkpoint no.ckpt"),
    "foreign checkpoint": (["--ckpt_path=README.md"], "README.md is damaged or not a checkpoint"),
    "data_dir is a file": (["--data.data_dir=README.md"], "data_dir is README.md, a file"),
    "output folder is a file": (["--trainer.default_root_dir=README.md"], "README.md"),
    "output folder cannot be made": (["--trainer.default_root_dir=/proc/digitnet"], "/proc/digitnet"),
}


@pytest.mark.parametrize(("options", "says"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_clear_line_and_status_2(run, options, says, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*options)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert not run.root.exists(), "nothing is written"


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_asked_for_where_there_is_none_is_one_clear_line(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("--trainer.accelerator=gpu")
    assert caught.value.code == 2
    assert "accelerator gpu" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "then", "now"),
    [("model.dropout", "0.4", "0.25"), ("data.batch_size", "32", "16"), ("seed_everything", "5", "0")],
)
def test_resuming_with_other_options_says_which_and_how_to_go_on(run, capsys, option, then, now):
    run("--trainer.max_epochs=1", f"--{option}={then}")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={run.root / 'checkpoints' / 'last.ckpt'}")
    assert caught.value.code == 2
    line = capsys.readouterr().err.strip()
    assert f"--{option} {then}" in line
    assert f"this run has {now}" in line


def test_weights_alone_cannot_be_resumed(run, tmp_path, capsys):
    run("--trainer.max_epochs=1")
    whole = read_checkpoint(run.root / "checkpoints" / "last.ckpt")
    torch.save({key: whole[key] for key in ("state_dict", "hyper_parameters")}, tmp_path / "weights.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={tmp_path / 'weights.ckpt'}")
    assert caught.value.code == 2
    assert "holds weights but not the state of a run" in capsys.readouterr().err


def tampered(part, value):
    def tamper(checkpoint):
        checkpoint[part] = value

    return tamper


def short_buffer(checkpoint):
    checkpoint["optimizer_states"][0]["state"][3]["exp_avg"] = torch.zeros(3)


def strange_history(checkpoint):
    checkpoint["callbacks"]["History"]["rows"] = [{"val/loss": 1}]


@pytest.mark.parametrize(
    "tamper",
    [
        short_buffer, strange_history,
        *(tampered("optimizer_states", value) for value in ([], [{}], 5, {})),
        *(tampered("lr_schedulers", value) for value in ([], [{}], 5)),
        *(tampered("loops", value) for value in ({}, None, {"fit_loop": 3})),
        *(tampered("callbacks", value) for value in ({}, [], {"BestAndLast": {"best_loss": "x"}})),
        tampered("pytorch-lightning_version", "abc"),
    ],
)  # fmt: skip
def test_a_damaged_state_of_a_run_is_one_clear_line(run, tmp_path, capsys, tamper):
    run("--trainer.max_epochs=1")
    checkpoint = torch.load(run.root / "checkpoints" / "last.ckpt", weights_only=True)
    tamper(checkpoint)
    torch.save(checkpoint, tmp_path / "damaged.ckpt")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(f"--ckpt_path={tmp_path / 'damaged.ckpt'}")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"error: {tmp_path / 'damaged.ckpt'}")


def test_a_terminal_shows_epochs_losses_and_accuracies_from_the_first_epoch_on(tiny_mnist, tmp_path):
    script = shutil.which("script")
    if script is None:
        pytest.skip("needs a terminal: apt-get install bsdutils")
    process = tiny_mnist.train(tmp_path / "root", "--trainer.max_epochs=2", terminal=script)
    screen, _ = process.communicate(timeout=120)
    assert process.returncode == 0, screen
    first_epoch = screen[: screen.index("Epoch 2/2")]
    assert "Epoch 1/2" in first_epoch
    assert "loss:" in first_epoch[: first_epoch.index("val/loss")]
    assert "accuracy:" in first_epoch[: first_epoch.index("val/loss")]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_a_step_takes_no_new_memory_from_the_system():
    program = (
        "import resource, torch; from digitnet.training.module import DigitNet; "
        "from digitnet.training.cli import build_trainer;"
        "torch.set_num_threads(1); build_trainer(accelerator='cpu')\n"
        "model, ink = DigitNet(), torch.rand(128, 1, 28, 28)\n"
        "for step in range(8):\n"
        "    if step == 5: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    model(ink).sum().backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True)
    assert int(ran.stdout) < 1000  # without `configure_malloc` some 8,000


def test_torch_and_torchvision_that_do_not_fit_are_one_clear_line(tmp_path):
    """A stand-in for torchvision that fails as the real one does beside another build of torch."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    result = subprocess.run(
        [sys.executable, "train.py"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("error: The installed torch and torchvision are builds that do not fit")
    assert len(result.stderr.splitlines()) == 1


def test_one_epoch_of_the_real_mnist_reads_98_5_percent_of_the_test_set(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    train.main([f"--data.data_dir={mnist_dir}", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1"])
    figures = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    assert figures["test_accuracy"] >= 0.985
