"""Train digitnet on MNIST and test what it learned. Usage: python train.py [--help].

The steps are here, in order. What they do is in digitnet/: data/datamodule.py and training/module.py first, then
training/cli.py.
"""

from digitnet.console import one_line_errors

with one_line_errors():  # an import fails if a package is missing or torch builds do not match
    from digitnet.training.cli import TrainingCLI


@one_line_errors()
def main(args: list[str] | None = None) -> None:
    """Train and test step by step, as `digitnet train` does.

    Args:
        args: Command-line arguments, `sys.argv[1:]` by default.
    """
    # The options define the network, the data and Lightning's trainer: cli.model, cli.datamodule and cli.trainer. The
    # seed is set before any of them is built.
    cli = TrainingCLI(args)

    # trainer.fit: download MNIST, keep a tenth of its training images for validation and train on the rest. best.ckpt
    # is the epoch with the lowest val/loss, last.ckpt the state to resume from.
    cli.fit()

    # trainer.test: evaluate the best epoch once on the 10,000 test images.
    cli.test()

    # The callbacks have written reports/: samples, curves, confusion, mistakes and metrics.json.
    cli.print_summary()


if __name__ == "__main__":
    main()
