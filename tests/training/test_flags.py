"""Every Trainer flag works as Lightning documents it, from the command line, on tiny data."""

import csv
import json

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from digitnet.errors import CheckpointError
from digitnet.model.checkpoint import load_model
from digitnet.training.cli import TrainingCLI
from digitnet.training.module import DigitNet
from digitnet.training.report import TrainingReport
from digitnet.training.summary import summary
from tests.forking import DEADLINE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        # Lightning's warnings about the flags that are tried here.
        "ignore:.*smaller than the logging interval",
        "ignore:.*could not find the monitored key",
        "ignore:Precision bf16-mixed is not supported by the model summary",
        "ignore:You requested to overfit",
        "ignore:No seed found",
        "ignore:.*is configured. Logging can impact raw speed",
        "ignore:The dirpath has changed",
        "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    ),
]


@pytest.fixture
def run(run_cli):
    """Train and test with the given options, and return the TrainingCLI."""
    return run_cli


@pytest.fixture
def counts(monkeypatch):
    """The number of batches of each stage, without Lightning's sanity check."""
    counts = dict.fromkeys(("training", "validation", "test"), 0)
    for stage in counts:
        step = getattr(DigitNet, f"{stage}_step")

        def counted(self, batch, batch_idx, *, step=step, stage=stage):
            counts[stage] += not self.trainer.sanity_checking
            return step(self, batch, batch_idx)

        monkeypatch.setattr(DigitNet, f"{stage}_step", counted)
    return counts


def test_fast_dev_run_ends_cleanly_and_writes_nothing(run, counts):
    cli = run("--trainer.fast_dev_run=true")
    assert counts == {"training": 1, "validation": 1, "test": 1}
    assert 0 <= cli.trainer.callback_metrics["test/accuracy"] <= 1
    assert not run.root.exists()


def test_fast_dev_run_ends_cleanly_from_the_script(tiny_mnist, tmp_path):
    process = tiny_mnist.train_in_new_process(tmp_path / "root", "--trainer.fast_dev_run=true")
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, errors
    assert "Test accuracy" in output
    assert not (tmp_path / "root").exists()


def test_max_steps_ends_the_run_after_that_many_steps(run, counts):
    cli = run("--trainer.max_steps=7")
    assert cli.trainer.global_step == counts["training"] == 7


def test_limit_batches_limits_each_stage(run, counts):
    run("--trainer.limit_train_batches=5", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1")
    assert counts == {"training": 5, "validation": 1, "test": 1}


def test_a_fraction_as_limit_trains_on_that_fraction_of_the_batches(run, counts):
    cli = run("--trainer.limit_train_batches=0.5")
    assert counts["training"] == len(cli.datamodule.train_dataloader()) // 2


def test_without_validation_the_last_state_is_tested(run, counts):
    cli = run("--trainer.limit_val_batches=0")
    assert counts["validation"] == 0
    assert cli.best_checkpoint_path() is None
    assert "val_loss" not in json.loads((run.root / "reports" / "metrics.json").read_text())


def test_overfit_batches_repeats_the_same_batches(run, monkeypatch):
    seen, step = [], DigitNet.training_step
    monkeypatch.setattr(
        DigitNet, "training_step", lambda s, batch, i: seen.append(batch[1].clone()) or step(s, batch, i)
    )
    run("--trainer.overfit_batches=2", "--data.augmentation=false", epochs=3)
    assert len(seen) == 6
    for index in range(2, 6):
        assert torch.equal(seen[index], seen[index % 2])


def test_gradient_clip_val_limits_the_norm_of_the_gradients(run, monkeypatch):
    norms, clip = [], DigitNet.configure_gradient_clipping

    def clipped(self, optimizer, *args, **kwargs):
        clip(self, optimizer, *args, **kwargs)
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None]).item())

    monkeypatch.setattr(DigitNet, "configure_gradient_clipping", clipped)
    run("--trainer.gradient_clip_val=0.01", "--trainer.limit_train_batches=5")
    assert norms
    assert max(norms) <= 0.0101


def test_gradient_clip_val_works_in_mixed_precision(run):
    run("--trainer.gradient_clip_val=0.5", "--trainer.precision=bf16-mixed", "--trainer.limit_train_batches=3")


def test_accumulate_grad_batches_takes_one_step_for_several_batches(run, counts):
    cli = run("--trainer.accumulate_grad_batches=4", "--trainer.limit_train_batches=8")
    assert counts["training"] == 8
    assert cli.trainer.global_step == 2


def test_check_val_every_n_epoch_validates_only_those_epochs(run, counts):
    cli = run("--trainer.check_val_every_n_epoch=2", "--trainer.limit_train_batches=2", epochs=4)
    assert counts["validation"] == 2 * cli.trainer.num_val_batches[0]
    assert cli.best_checkpoint_path()
    assert json.loads((run.root / "reports" / "metrics.json").read_text())["best_epoch"] in (2, 4)


def test_val_check_interval_validates_several_times_per_epoch(run, counts):
    cli = run("--trainer.val_check_interval=0.25")
    assert counts["validation"] == 4 * cli.trainer.num_val_batches[0]
    assert cli.best_checkpoint_path()


def test_profiler_simple_prints_its_report(run, caplog):
    with caplog.at_level("INFO"):
        run("--trainer.profiler=simple", "--trainer.limit_train_batches=2")
    assert "run_training_epoch" in caplog.text


def test_logger_false_writes_no_logs(run):
    cli = run("--trainer.logger=false", "--trainer.limit_train_batches=2")
    assert cli.trainer.loggers == []
    assert not (run.root / "logs").exists()
    assert (run.root / "checkpoints" / "best.ckpt").exists()


def test_the_csv_logger_writes_to_its_own_directory(run, tmp_path):
    cli = run("--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}")
    assert isinstance(cli.trainer.logger, CSVLogger)
    (table,) = (tmp_path / "mine").rglob("metrics.csv")
    assert "val/loss" in table.read_text().splitlines()[0]


def test_the_tensorboard_logger_writes_to_its_own_directory(run, tmp_path):
    cli = run("--trainer.logger=TensorBoardLogger", f"--trainer.logger.save_dir={tmp_path / 'mine'}")
    assert isinstance(cli.trainer.logger, TensorBoardLogger)
    assert list((tmp_path / "mine").rglob("events.out.*"))


def test_several_loggers_can_be_used_together(run, tmp_path):
    directory = str(tmp_path / "mine")
    loggers = [
        {"class_path": name, "init_args": {"save_dir": directory}} for name in ("CSVLogger", "TensorBoardLogger")
    ]
    cli = run(f"--trainer.logger={json.dumps(loggers)}", "--trainer.limit_train_batches=2")
    assert [type(logger) for logger in cli.trainer.loggers] == [CSVLogger, TensorBoardLogger]


def test_a_callback_is_added_to_the_default_ones(run):
    cli = run(
        "--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss", "--trainer.callbacks.patience=1",
        epochs=12,
    )  # fmt: skip
    (stopping,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, EarlyStopping)]
    assert stopping.patience == 1
    assert cli.trainer.current_epoch < 12, "the loss of the tiny images does not fall for twelve epochs"
    assert (run.root / "reports" / "curves.png").exists()


def test_the_stock_checkpoint_is_configured_on_the_command_line(run):
    run(
        "--best_checkpoint.filename={epoch}",
        "--best_checkpoint.save_top_k=2",
        "--trainer.limit_train_batches=2",
        epochs=3,
    )
    names = sorted(path.name for path in (run.root / "checkpoints").glob("epoch=*.ckpt"))
    assert len(names) == 2


def test_enable_checkpointing_false_writes_no_checkpoint(run):
    cli = run("--trainer.enable_checkpointing=false", "--trainer.limit_train_batches=2")
    assert cli.best_checkpoint_path() is None
    assert not (run.root / "checkpoints").exists()


def test_a_run_with_detect_anomaly_succeeds(run):
    run("--trainer.detect_anomaly=true", "--trainer.limit_train_batches=2")


def test_the_progress_bar_and_the_model_summary_can_be_disabled(run, capsys):
    cli = run(
        "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.limit_train_batches=2"
    )
    assert cli.trainer.progress_bar_callback is None
    assert "ConvNet" not in capsys.readouterr().out


def test_training_with_bf16_mixed_reaches_the_accuracy(run):
    cli = run("--trainer.precision=bf16-mixed", epochs=2)
    assert cli.trainer.callback_metrics["test/accuracy"] > 0.9


def test_max_time_ends_the_run(run):
    cli = run("--trainer.max_time=00:00:00:01", epochs=-1)
    assert cli.trainer.current_epoch > 0


def test_a_run_with_deterministic_reload_and_sanity_flags_succeeds(run):
    run(
        "--trainer.deterministic=true", "--trainer.reload_dataloaders_every_n_epochs=1",
        "--trainer.num_sanity_val_steps=0", "--trainer.limit_train_batches=2", epochs=2,
    )  # fmt: skip


def test_ckpt_path_resumes_the_run_at_its_last_step(run):
    run(epochs=1)
    cli = run(f"--ckpt_path={run.root / 'checkpoints' / 'last.ckpt'}", epochs=3)
    assert cli.trainer.current_epoch == 3
    assert cli.trainer.global_step == 3 * cli.trainer.num_training_batches


def test_ckpt_path_last_finds_the_last_checkpoint(run):
    run(epochs=1)
    cli = run("--ckpt_path=last", epochs=2)
    assert cli.trainer.global_step == 2 * cli.trainer.num_training_batches


def test_ckpt_path_last_says_that_a_run_without_a_checkpoint_starts_anew(run):
    with pytest.warns(UserWarning, match="there is no last checkpoint available. No checkpoint will be loaded"):
        cli = run("--ckpt_path=last", "--trainer.limit_train_batches=2")
    assert cli.trainer.global_step == 2


def test_config_sets_options_and_the_command_line_overrides_it(run, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("trainer:\n  limit_train_batches: 2\nmodel:\n  dropout: 0.4\n  weight_decay: 0.1\n")
    cli = run(f"--config={config}", "--model.weight_decay=0.2")
    assert (cli.model.hparams["dropout"], cli.model.hparams["weight_decay"]) == (0.4, 0.2)
    assert cli.trainer.global_step == 2


def test_the_saved_config_is_that_of_the_run(run):
    run("--trainer.limit_train_batches=2", "--model.dropout=0.4")
    (path,) = (run.root / "logs").rglob("config.yaml")
    assert yaml.safe_load(path.read_text())["model"]["dropout"] == 0.4


def test_print_config_prints_every_trainer_flag(capsys):
    with pytest.raises(SystemExit) as caught:
        TrainingCLI(["--trainer.max_steps=3", "--print_config"])
    assert caught.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["max_steps"] == 3
    assert {"fast_dev_run", "profiler", "gradient_clip_val", "strategy", "callbacks"} <= set(printed["trainer"])


@pytest.mark.parametrize(("option", "seed"), [("7", 7), ("false", 0)])
def test_seed_everything_sets_the_seed_of_the_data(run, monkeypatch, option, seed):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # of an earlier run in this process
    cli = run(f"--seed_everything={option}", "--trainer.limit_train_batches=2")
    assert cli.datamodule.seed == seed


def test_seed_everything_true_chooses_a_seed_that_the_data_uses_too(run, monkeypatch):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    cli = run("--seed_everything=true", "--trainer.limit_train_batches=2")
    assert type(cli.config.seed_everything) is int
    assert cli.datamodule.seed == cli.config.seed_everything
    run("--seed_everything=true", "--trainer.limit_train_batches=2", f"--ckpt_path={run.root}/checkpoints/last.ckpt")


def test_limit_test_batches_0_tests_nothing(run):
    cli = run("--trainer.limit_test_batches=0", "--trainer.limit_train_batches=2")
    assert "test/accuracy" not in cli.trainer.callback_metrics
    assert "The network was not tested" in summary(cli.trainer, cli.best_checkpoint_path())


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "16-true"])
def test_other_precisions_train_and_are_resumed_and_exported(run, precision):
    run(f"--trainer.precision={precision}", "--trainer.gradient_clip_val=1.0")
    checkpoints = run.root / "checkpoints"
    cli = run(f"--trainer.precision={precision}", f"--ckpt_path={checkpoints / 'last.ckpt'}", epochs=2)
    assert cli.trainer.callback_metrics["test/accuracy"] > 0.8
    assert load_model(checkpoints / "best.ckpt").network.conv1.weight.dtype == torch.float32


def test_barebones_trains_without_anything_else(run, counts):
    cli = run("--trainer.barebones=true")
    assert counts["training"] > 0
    assert not run.root.exists() or [path.name for path in run.root.iterdir()] == ["config.yaml"]
    assert "The network was not tested" in summary(cli.trainer, cli.best_checkpoint_path())


def test_a_progress_bar_that_is_asked_for_is_shown_without_a_terminal(run):
    limit = "--trainer.limit_train_batches=2"
    cli = run("--trainer.callbacks+=RichProgressBar", limit)
    assert isinstance(cli.trainer.progress_bar_callback, RichProgressBar)
    cli = run("--trainer.enable_progress_bar=true", limit)
    assert cli.trainer.progress_bar_callback is not None
    assert run(limit).trainer.progress_bar_callback is None


def test_ckpt_path_last_is_checked_like_a_path(run):
    run(epochs=1)
    assert run("--ckpt_path=last", epochs=2).trainer.current_epoch == 2
    with pytest.raises(CheckpointError, match=r"was trained with --model.dropout 0.25, this run has 0.5"):
        run("--ckpt_path=last", "--model.dropout=0.5", epochs=3)


def test_each_magnitude_is_an_option(run):
    cli = run(
        "--data.augment.rotation=3", "--data.degradation=0.5", "--data.degrade.noise.shot=0.3",
        "--data.degrade.background.fog=[0.1,0.2]", "--trainer.limit_train_batches=2",
    )  # fmt: skip
    assert cli.datamodule.augment.rotation == 3
    degrade = cli.datamodule.degrade
    assert (cli.datamodule.degradation, degrade.noise.shot, degrade.background.fog) == (0.5, 0.3, (0.1, 0.2))
    (config,) = (run.root / "logs" / "tensorboard").glob("*/config.yaml")
    saved = yaml.safe_load(config.read_text())["data"]
    assert saved["augment"]["rotation"] == 3
    assert saved["degrade"]["noise"]["shot"] == 0.3
    with pytest.raises(CheckpointError, match=r"--data.augment.rotation 3.0, this run has 10.0"):
        run("--ckpt_path=last", "--data.degradation=0.5", "--data.degrade.noise.shot=0.3",
            "--data.degrade.background.fog=[0.1,0.2]")  # fmt: skip


def epochs_of(cli):
    """The metrics of each epoch in the report of a run."""
    (report,) = [callback for callback in cli.trainer.callbacks if isinstance(callback, TrainingReport)]
    return report.epochs


def test_the_logged_losses_are_those_of_the_logged_steps(run, monkeypatch):
    losses, step = [], DigitNet.training_step

    def recorded(self, batch, batch_idx):
        losses.append(step(self, batch, batch_idx))
        return losses[-1]

    monkeypatch.setattr(DigitNet, "training_step", recorded)
    run("--trainer.limit_train_batches=7", "--trainer.log_every_n_steps=5", epochs=3)
    (table,) = (run.root / "logs" / "csv").glob("*/metrics.csv")
    with open(table) as file:
        logged = {
            int(row["step"]): float(row["train/loss_step"]) for row in csv.DictReader(file) if row["train/loss_step"]
        }
    assert logged == {index: pytest.approx(losses[index].item(), rel=1e-5) for index in (4, 9, 14, 19)}


def test_the_metrics_of_an_epoch_that_max_steps_ends_are_logged(run):
    cli = run("--trainer.max_steps=7")
    assert 0 <= epochs_of(cli)[0]["train/accuracy"] <= 1


def test_the_metrics_of_an_epoch_are_those_of_all_its_images(run, monkeypatch):
    correct, total, step = [], [], DigitNet.training_step

    def counted(self, batch, batch_idx):
        labels = batch[1]
        correct.append((self.eval()(batch[0]).argmax(1) == labels)[labels >= 0].sum().item())
        self.train()
        total.append((labels >= 0).sum().item())
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DigitNet, "training_step", counted)
    # Without learning, dropout and batch statistics, the predictions of a step can be repeated.
    monkeypatch.setattr(DigitNet, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    cli = run("--trainer.log_every_n_steps=3", "--trainer.limit_train_batches=11", "--model.learning_rate=1e-12",
              "--model.weight_decay=0")  # fmt: skip
    assert epochs_of(cli)[0]["train/accuracy"] == pytest.approx(sum(correct) / sum(total), abs=1e-6)


def test_another_model_checkpoint_and_another_directory_for_checkpoints(run, tmp_path):
    cli = run(
        "--trainer.callbacks+=ModelCheckpoint", f"--trainer.callbacks.dirpath={tmp_path / 'mine'}",
        f"--best_checkpoint.dirpath={tmp_path / 'best'}",
    )  # fmt: skip
    assert list((tmp_path / "mine").glob("*.ckpt"))
    assert cli.best_checkpoint_path() == str(tmp_path / "best" / "best.ckpt")
    assert (run.root / "checkpoints" / "last.ckpt").is_file()
    assert f"--checkpoint {tmp_path / 'best' / 'best.ckpt'}" in summary(cli.trainer, cli.best_checkpoint_path())


def test_a_run_is_resumed_within_an_epoch(run):
    options = ("--trainer.limit_train_batches=10", "--last_checkpoint.every_n_train_steps=5",
               "--last_checkpoint.save_on_train_epoch_end=false")  # fmt: skip
    run(*options, "--trainer.max_steps=15", epochs=3)
    cli = run(*options, "--ckpt_path=last", epochs=3)
    assert cli.trainer.current_epoch == 3
    metrics = json.loads((run.root / "reports" / "metrics.json").read_text())
    assert 0 < metrics["fit_seconds"] < 60


def test_a_timer_ends_the_run(run):
    run("--trainer.callbacks+=Timer", "--trainer.callbacks.duration=00:00:00:05")
