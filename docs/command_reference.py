"""Render the options of each command as Markdown, from the parsers that read them."""

import argparse
import html
import importlib
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from digitnet.cli import COMMANDS
from digitnet.training.cli import TrainingCLI

# Markup of reStructuredText in the help of Lightning's options, and the Markdown for it.
MARKUP = {
    r"``([^`]*)``": r"`\1`",
    r":\w+:`~?(?:\w+\.)*(\w+)`": r"`\1`",
    r"\.\. (\w+):: ?": lambda found: f"{found[1].capitalize()}: ",
    r"::(?=\s)": ":",
}


class ParserOnly(TrainingCLI):
    """A TrainingCLI that stops before it parses options, to get its parser without building a trainer."""

    def parse_arguments(self, parser: argparse.ArgumentParser, args: object) -> NoReturn:  # type: ignore[override]
        """Stop with the parser.

        Args:
            parser: The parser with all options.
            args: Not used.

        Raises:
            ParserFoundError: Always.
        """
        raise ParserFoundError(parser)


class ParserFoundError(Exception):
    """Carries the parser out of the constructor of LightningCLI."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command.

    Args:
        command: One of `COMMANDS`.

    Returns:
        The parser with all its options.
    """
    if command != "train":
        return importlib.import_module(COMMANDS[command][0]).build_parser()
    try:
        ParserOnly([])
    except ParserFoundError as found:
        return found.parser
    raise AssertionError("LightningCLI did not parse its arguments")


def options_of(command: str) -> list[str]:
    """Return the long names of all options of a command.

    Args:
        command: One of `COMMANDS`.

    Returns:
        The names, with two hyphens.
    """
    return [name for action in parser_of(command)._actions for name in action.option_strings if name.startswith("--")]


def render(command: str) -> str:
    """Return the reference page of a command.

    Args:
        command: One of `COMMANDS`.

    Returns:
        Markdown.
    """
    parser = parser_of(command)
    lines = [f"# digitnet {command}", "", str(parser.description), ""]
    if command == "train":
        lines += [
            "This is a [LightningCLI](https://lightning.ai/docs/pytorch/stable/cli/lightning_cli.html): it has all",
            "options of Lightning's Trainer, of `DigitNet` (`--model`), of `MNISTDataModule` (`--data`) and of three",
            "callbacks. [Train](../../training.md) describes the images, and the [guides](../../how-to/index.md) show",
            "which options to use for what. `python train.py` is the same command.",
            "",
            "```text",
            "digitnet train [options]",
            "```",
        ]
    else:
        usage = re.sub(r"\s+", " ", parser.format_usage()).removeprefix("usage: ").strip()
        lines += ["```text", *wrap(usage), "```"]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if actions:
            lines += ["", f"## {group_title(group)}", ""]
            lines += [line for action in actions for line in render_option(action, parser)]
    if parser.epilog:
        lines += ["", parser.epilog]
    return "\n".join(lines) + "\n"


def wrap(usage: str, width: int = 100) -> Iterator[str]:
    """Split a usage line between its options.

    Args:
        usage: The line.
        width: Number of characters in a line.

    Yields:
        Lines; all but the first are indented.
    """
    line = ""
    for part in re.findall(r"\[[^\]]*\](?: ?\.\.\.)?\]?|\S+", usage):
        if len(line) + len(part) >= width:
            yield line
            line = "   "
        line = f"{line} {part}" if line else part
    yield line


def group_title(group: argparse._ArgumentGroup) -> str:
    """Return the heading of a group of options.

    Args:
        group: A group of a parser of argparse or LightningCLI.

    Returns:
        The heading: for the options of a class, their common prefix.
    """
    title = {"positional arguments": "Arguments"}.get(group.title or "", group.title or "options")
    prefix = group._group_actions[0].option_strings[:1]
    is_class = len(group._group_actions) > 1 and group._group_actions[1].dest.startswith(
        f"{group._group_actions[0].dest}."
    )
    return f"`{prefix[0]}`" if is_class else title[0].upper() + title[1:]


def render_option(action: argparse.Action, parser: argparse.ArgumentParser) -> list[str]:
    """Return the entry of an option in a definition list.

    Args:
        action: The option.
        parser: Its parser.

    Returns:
        Lines of Markdown.
    """
    text = str(action.help or "")
    if type(parser).__module__.startswith("digitnet"):
        text = text % {**vars(action), "prog": parser.prog}
        details = []
        metavar = action.metavar or (None if action.nargs == 0 else action.dest.upper())
        if action.choices and action.nargs != 0:
            details.append("one of " + ", ".join(f"`{choice}`" for choice in action.choices))
        if (
            "default" not in text
            and action.default not in (None, False, [], argparse.SUPPRESS)
            and action.option_strings
        ):
            details.append(f"default: `{action.default}`")
    else:
        metavar = None
        details = [] if action.default == argparse.SUPPRESS else [
            *([f"type: `{type_name(action)}`"] if type_name(action) else []), f"default: `{default_of(action)}`"
        ]  # fmt: skip
    metavar = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{metavar or action.dest}`"
    value = f" `{metavar}`" if metavar and action.option_strings and not action.choices else ""
    entry = to_markdown(text) + (f" ({'; '.join(details)})" if details else "")
    return [names + value, f":   {entry.strip() or 'No description.'}", ""]


def type_name(action: argparse.Action) -> str:
    """Return the type of an option without the names of modules.

    Args:
        action: The option.

    Returns:
        The type, or an empty string if there is none.
    """
    kind: Any = getattr(action, "_typehint", action.type)
    if kind is None:
        return ""
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", text).replace("NoneType", "None")


def default_of(action: argparse.Action) -> str:
    """Return the default of an option as it is written on the command line.

    Args:
        action: The option.

    Returns:
        The default in one line.
    """
    default = action.default
    return " ".join(str(default.as_dict() if hasattr(default, "as_dict") else default).split())


def to_markdown(text: str) -> str:
    """Return the help of an option as one paragraph of Markdown.

    Args:
        text: The help, plain or with the markup of reStructuredText.

    Returns:
        Markdown in one line.
    """
    for pattern, replacement in MARKUP.items():
        text = re.sub(pattern, replacement, text)
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    )
