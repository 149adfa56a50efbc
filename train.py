"""Trains digitnet on MNIST and tests what it learnt: python train.py [--help]

What happens is here, in order; how it happens is in digitnet/: data.py and model.py first, then trainer.py.
"""

from digitnet.errors import one_line_errors

with one_line_errors():  # imports too can fail in ways a user can mend: a missing package, torch builds that clash
    from digitnet.training.cli import TrainingCLI
    from digitnet.training.report import summary


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    # From the options: the network, the data, and Lightning's trainer. The seed is set before any of them is built.
    cli = TrainingCLI(args)
    model, data, trainer = cli.model, cli.datamodule, cli.trainer

    # Get MNIST, hold back a tenth of its training images, and learn from the rest, epoch by epoch. Each epoch is
    # validated on the tenth; best.ckpt is the epoch with the lowest val/loss, last.ckpt the state to resume from.
    trainer.fit(model, data, ckpt_path=cli.config.ckpt_path, weights_only=True)

    # Only now look at the 10,000 test images, once, with the best epoch's weights.
    trainer.test(cli.best_network(), data, verbose=False)

    # reports/ has been written on the way: samples, curves, confusion, mistakes, metrics.json.
    if trainer.is_global_zero:
        print(summary(trainer))


if __name__ == "__main__":
    main()
