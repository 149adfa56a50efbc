import json
import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from lightning import Callback

import train
from digitnet.model.checkpoint import load_model, read_checkpoint
from digitnet.training.cli import invalid_options_as_config_errors
from digitnet.training.module import DigitNet
from tests.conftest import ROOT
from tests.forking import DEADLINE


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_one_command_trains_tests_and_reports(run, capsys):
    run("--seed_everything=7")
    assert names(run.root / "checkpoints") == ["best.ckpt", "last.ckpt"]
    reports = ["confusion.png", "curves.png", "metrics.json", "samples.png"]
    assert [name for name in names(run.root / "reports") if name != "mistakes.png"] == reports
    figures = json.loads((run.root / "reports" / "metrics.json").read_text())
    assert figures["test_accuracy"] > 0.9, "the tiny images are easy"
    assert (run.root / "reports" / "mistakes.png").exists() == (figures["test_accuracy"] < 1)
    assert 0 < figures["val_accuracy"] <= 1
    assert (figures["seed"], figures["epochs"]) == (7, 2)
    assert figures["fit_seconds"] > 0
    assert figures["images_per_second"] > 0
    assert "test_loss" in figures
    assert "torch_version" in figures
    assert len([name for name in figures if name.startswith("test_accuracy_of_")]) == 10
    assert not any(isinstance(value, (dict, list)) for value in figures.values()), "flat keys"
    printed = capsys.readouterr()
    assert printed.err.count("epoch 1/2") == printed.err.count("epoch 2/2") == 1, "a plain line per epoch"
    assert f"Test accuracy {figures['test_accuracy']:.2%}" in printed.out


def test_every_epoch_is_logged_for_tensorboard_and_as_csv(run):
    run()
    (table,) = (run.root / "logs" / "csv").glob("*/metrics.csv")
    header = table.read_text().splitlines()[0].split(",")
    assert {
        "train/loss",
        "train/loss_step",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
        "learning_rate",
        "epoch",
    } <= set(header)
    assert list((run.root / "logs" / "tensorboard").glob("*/events.out.*"))


@pytest.mark.slow
def test_a_second_run_replaces_the_best_checkpoint(run):
    run("--trainer.max_epochs=3")
    run("--trainer.max_epochs=1", "--model.learning_rate=1e-5")  # hardly learns: worse than the first
    assert names(run.root / "checkpoints") == ["best.ckpt", "last.ckpt"]
    best = read_checkpoint(run.root / "checkpoints" / "best.ckpt")
    assert best["hyper_parameters"]["learning_rate"] == 1e-5


@pytest.mark.slow
def test_a_run_that_diverges_fails_and_is_not_tested_with_the_checkpoint_of_another_run(run, capsys):
    run("--trainer.max_epochs=1")
    capsys.readouterr()
    (run.root / "reports" / "metrics.json").unlink()
    with pytest.raises(SystemExit) as caught:
        run("--model.learning_rate=1e30", "--data.augmentation=false")
    assert caught.value.code == 1
    assert "training diverged. Use a smaller learning rate than --model.learning_rate 1e+30" in capsys.readouterr().err
    assert not (run.root / "reports" / "metrics.json").exists()


def test_a_checkpoint_names_no_code(run):
    run()
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = read_checkpoint(run.root / "checkpoints" / name)  # weights only, otherwise it raises
        assert "_instantiator" not in repr({key: value for key, value in checkpoint.items() if key != "state_dict"})


def test_best_ckpt_has_no_state_of_the_run_and_names_no_path(run):
    run()
    checkpoint = read_checkpoint(run.root / "checkpoints" / "best.ckpt")
    assert not {"optimizer_states", "callbacks"} & set(checkpoint)
    assert str(run.root) not in repr({key: value for key, value in checkpoint.items() if key != "state_dict"})


@pytest.mark.slow
def test_a_checkpoint_of_a_run_is_loaded_as_lightning_documents(run):
    run("--model.dropout=0.4", "--model.learning_rate=0.003")
    model = DigitNet.load_from_checkpoint(run.root / "checkpoints" / "best.ckpt", map_location="cpu").eval()
    assert model.hparams["dropout"] == 0.4
    assert model.learning_rate == 0.003
    network, calibration, averaged_calibration = load_model(run.root / "checkpoints" / "best.ckpt")
    ink = torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(model(ink), network(ink))
    assert model.calibration.temperature == calibration.temperature != 1
    assert model.averaged_calibration.threshold == averaged_calibration.threshold != 0


@pytest.mark.slow
def test_a_run_can_be_resumed_for_more_epochs_than_it_was_started_with(run):
    run()
    last = run.root / "checkpoints" / "last.ckpt"
    run(f"--ckpt_path={last}", "--trainer.max_epochs=3")
    assert read_checkpoint(last)["epoch"] == 2
    assert json.loads((run.root / "reports" / "metrics.json").read_text())["epochs"] == 3


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_is_tested_with_its_best_epoch(run):
    run()
    best, root = run.root / "checkpoints" / "best.ckpt", run.root / "reports" / "metrics.json"
    before, weights = json.loads(root.read_text()), read_checkpoint(best)["state_dict"]
    run(f"--ckpt_path={run.root / 'checkpoints' / 'last.ckpt'}")
    after = json.loads(root.read_text())
    assert all(torch.equal(weight, read_checkpoint(best)["state_dict"][name]) for name, weight in weights.items())
    for name in ("test_accuracy", "test_loss", "best_epoch", "epochs"):
        assert after[name] == before[name]


@pytest.mark.slow
def test_the_saved_config_repeats_the_run_bit_for_bit(run, tmp_path):
    run("--model.dropout=0.4", "--seed_everything=3")
    (config,) = (run.root / "logs" / "tensorboard").glob("*/config.yaml")
    saved = yaml.safe_load(config.read_text())
    assert saved["model"]["dropout"] == 0.4
    assert saved["ckpt_path"] is None
    train.main([f"--config={config}", f"--trainer.default_root_dir={tmp_path / 'again'}"])
    first, again = (read_checkpoint(root / "checkpoints" / "last.ckpt") for root in (run.root, tmp_path / "again"))
    for name, weight in first["state_dict"].items():
        assert torch.equal(weight, again["state_dict"][name])


def test_help_names_the_options(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        train.main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    options = (
        "max_epochs accelerator devices num_nodes strategy precision deterministic fast_dev_run profiler logger"
        " best_checkpoint.monitor ckpt_path seed_everything config print_config batch_size val_fraction data_dir"
        " learning_rate dropout"
    )
    for option in options.split(" "):
        assert option in text


def test_print_config_prints_a_config_with_the_given_options(capsys, monkeypatch):
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
    "precision": (["--trainer.precision=12"], "12"),
    "accelerator": (["--trainer.accelerator=abacus"], "abacus"),
    "devices": (["--trainer.devices=some"], "should be an int > 0"),
    "strategy": (["--trainer.strategy=luck"], "luck"),
    "no TPU": (["--trainer.accelerator=tpu"], "torch_xla"),
    "no callback": (["--trainer.callbacks=[1]"], "callbacks"),
    "empty name of a directory": (["--data.data_dir="], "data.data_dir is empty"),
    "a directory instead of a checkpoint": (["--ckpt_path=tests"], "got the directory tests"),
    "seed": (["--seed_everything=-1"], "seed_everything is -1"),
    "a magnitude that does not exist": (["--data.augment={turn: 3}"], "Option 'turn' is not accepted"),
    "a negative magnitude": (["--data.augment.rotation=-5"], "rotation of Augmentation is -5.0"),
    "half a control point": (["--data.augment.control_points=1.5"], "Expected a <class 'int'>"),
    "more fractions than images": (
        ["--data.degradation=0.4", "--data.degrade.noise.blurred=0.9"],
        "+ impulse + coarse + compressed of RandomNoise is 1.42; it must be at most 1",
    ),
    "a degradation without effect": (["--data.degrade.noise.shot=0.2"], "no effect with data.degradation 0"),
    "an augmentation without effect": (
        ["--data.augmentation=false", "--data.augment.rotation=1"],
        "no effect with data.augmentation false",
    ),
    "no such callback": (["--trainer.callbacks+=Nope"], "trainer.callbacks is Nope; expected the name of a class"),
    "text for a number": (["--trainer.max_epochs=x"], "trainer.max_epochs is x; expected int"),
    "mode of a checkpoint": (["--best_checkpoint.mode=foo"], "`mode` can be min, max but got foo"),
    "no accumulation": (["--trainer.accumulate_grad_batches=0"], "it must be 1 or more"),
    "degradation": (["--data.degradation=1.5"], "data.degradation is 1.5; it must be from 0 to 1"),
    "a logger that is not installed": (["--trainer.logger=WandbLogger"], "wandb"),
    "a network without parameters": (
        ["--model.network=torch.nn.Identity"],
        "model.network Identity has no parameters to train",
    ),
    "missing config": (["--config=no.yaml"], "no.yaml"),
    "empty config": (["--config=/dev/null"], "config /dev/null is empty"),
    "missing checkpoint": (["--ckpt_path=no.ckpt"], "No checkpoint no.ckpt"),
    "foreign checkpoint": (["--ckpt_path=README.md"], "README.md is damaged or not a checkpoint"),
    "data_dir is a file": (["--data.data_dir=README.md"], "data_dir is README.md, a file"),
    "output directory is a file": (["--trainer.default_root_dir=README.md"], "README.md"),
    "output directory cannot be created": (["--trainer.default_root_dir=/proc/digitnet"], "/proc/digitnet"),
}


def refused(run, options, capsys):
    """Run with options that are refused, and return what was printed and its only line that is an error."""
    with pytest.raises(SystemExit) as caught:
        run(*options)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    return printed, line


@pytest.mark.parametrize(("options", "expected"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_clear_line_and_status_2(run, options, expected, capsys):
    printed, line = refused(run, options, capsys)
    assert printed.strip().endswith(line)
    assert expected in line
    assert not run.root.exists(), "nothing is written"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--trainer.val_check_interval=1000"], "val_check_interval"),
        (["--trainer.overfit_batches=0.001"], "You requested to check 0.001 of the `train_dataloader`"),
        (["--best_checkpoint.monitor=nope"], "nope"),
        (["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=nope"], "nope"),
        (["--ckpt_path=best"], "best"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:You requested to overfit", "ignore:.*It will use the best checkpoint path from first"
)
@pytest.mark.slow
def test_options_that_lightning_refuses_later_get_one_clear_line_and_status_2(run, options, expected, capsys):
    _, line = refused(run, options, capsys)
    assert expected in line


class BrokenNetwork(torch.nn.Module):
    """A network with a bug."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, ink):
        raise ValueError("a bug")


def test_an_error_in_the_code_of_the_user_keeps_its_traceback(run):
    with pytest.raises(ValueError, match="a bug"):
        run("--model.network=tests.training.test_cli.BrokenNetwork")


class LogsAVector(Callback):
    """A callback with a bug that Lightning notices."""

    def on_train_batch_end(self, trainer, pl_module, *_):
        pl_module.log("mine", torch.ones(3))


@pytest.mark.slow
def test_a_wrong_call_of_lightning_by_the_user_keeps_its_traceback(run):
    with pytest.raises(ValueError, match="mine"):
        run("--trainer.callbacks+=tests.training.test_cli.LogsAVector")


def test_an_error_in_a_directory_of_the_user_named_lightning_keeps_its_traceback():
    program = compile("raise ValueError('a bug')", "/home/user/lightning/network.py", "exec")
    with pytest.raises(ValueError, match="a bug") as caught, invalid_options_as_config_errors():
        exec(program)
    assert type(caught.value) is ValueError


@pytest.mark.slow
def test_a_checkpoint_of_a_later_epoch_is_not_called_damaged(run, capsys):
    run("--trainer.max_epochs=3")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run("--ckpt_path=last", "--trainer.max_epochs=1")
    assert caught.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "max_epochs=1" in line
    assert "damaged" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_requesting_a_gpu_on_a_machine_without_one_prints_a_one_line_error(run, capsys):
    with pytest.raises(SystemExit) as caught:
        run("--trainer.accelerator=gpu")
    assert caught.value.code == 2
    assert "error: The trainer cannot be built" in capsys.readouterr().err


@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar_with_the_loss_from_the_first_epoch_on(tiny_mnist, tmp_path):
    script = shutil.which("script")
    if script is None:
        pytest.skip("needs a terminal: apt-get install bsdutils")
    process = tiny_mnist.train_in_new_process(tmp_path / "root", "--trainer.max_epochs=2", terminal=script)
    screen, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, screen
    first_epoch = screen[: screen.index("Epoch 1/1")]  # Lightning counts from 0
    assert "Epoch 0/1" in first_epoch
    assert "train/loss_step:" in first_epoch
    assert "val/accuracy:" in screen


@pytest.mark.slow
def test_the_process_group_is_destroyed_before_python_ends(tiny_mnist, tmp_path):
    options = [*tiny_mnist.options(tmp_path), "--trainer.strategy=ddp", "--trainer.fast_dev_run=true"]
    program = (
        "import atexit, sys, torch; sys.argv = ['train.py']\n"
        "atexit.register(lambda: print('initialized:', torch.distributed.is_initialized()))\n"
        "from digitnet.training.cli import TrainingCLI\n"
        f"cli = TrainingCLI({options})\n"
        "cli.trainer.strategy.setup_environment()\n"
        "assert torch.distributed.is_initialized()"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "initialized: False" in ran.stdout  # functions at exit run last in, first out


@pytest.mark.slow
def test_strategy_ddp_spawn_trains_and_tests_in_two_processes_and_ends(tiny_mnist, tmp_path):
    script = tmp_path / "spawn.py"  # each process imports it again
    script.write_text(
        f"from digitnet.data import mnist; mnist.MD5.update({tiny_mnist.md5})\n"
        "if __name__ == '__main__':\n    import train; train.main()\n"
    )
    options = ["--trainer.strategy=ddp_spawn", "--trainer.devices=2", "--trainer.max_epochs=1"]
    ran = subprocess.run(
        [sys.executable, str(script), *tiny_mnist.options(tmp_path / "root"), *options],
        capture_output=True, text=True, timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Test accuracy") == 1
    assert json.loads((tmp_path / "root" / "reports" / "metrics.json").read_text())["devices"] == 2


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_a_training_step_reuses_the_memory_of_the_last_one():
    program = (
        "import resource, torch; from digitnet.training.module import DigitNet; "
        "from digitnet.training.runtime import configure_malloc;"
        "torch.set_num_threads(1); configure_malloc()\n"
        "model, ink = DigitNet(), torch.rand(128, 1, 28, 28)\n"
        "for step in range(8):\n"
        "    if step == 5: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    model(ink).sum().backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, capture_output=True, text=True)
    assert int(ran.stdout) < 1000  # about 8,000 without `configure_malloc`


@pytest.mark.slow
def test_torch_and_torchvision_builds_that_do_not_match_print_a_one_line_error(tmp_path):
    """A stand-in for torchvision that fails as the real one does with another build of torch."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    result = subprocess.run(
        [sys.executable, "train.py"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("error: The builds of torch and torchvision do not match")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_one_epoch_of_the_real_mnist_gives_an_accuracy_of_98_5_percent(mnist_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    train.main([f"--data.data_dir={mnist_dir}", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1"])
    figures = json.loads((tmp_path / "reports" / "metrics.json").read_text())
    assert figures["test_accuracy"] >= 0.985
