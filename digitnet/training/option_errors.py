"""Messages about invalid options, in one line."""

import argparse
import os
import re
from pathlib import Path
from typing import Any

import yaml


def describe_error(error: Exception) -> str:
    """Return the message of jsonargparse for an invalid value, without its list of all types that it tried.

    Args:
        error: An exception of jsonargparse, or of a constructor.

    Returns:
        One line of text: what was received and what was expected.
    """
    message = str(error)
    if "Union subtypes" not in message:
        return " ".join(message.split())
    key = re.search(r'Parser key "(.+?)":', message)
    block = message.rpartition("Errors:")[2].partition("Given value type:")[0]
    bullet = re.match(r"\s*- ", block)
    items = block.split(bullet[0]) if bullet else []
    expected, problems = _sort_reasons([" ".join(item.split()) for item in items])
    if problems:
        return f"{key[1]}: {'; '.join(problems)}" if key else "; ".join(problems)
    given = re.findall(r"Given value: (.*)", message)[-1]
    return f"{key[1] if key else 'A value'} is {given}; expected {' or '.join(expected)}"


def config_without_options(args: Any) -> str | None:
    """Return the first file of `--config` that is empty, which jsonargparse refuses without its name.

    Args:
        args: The arguments of the command; nothing is found unless they are a list.

    Returns:
        The name of the file, or None.
    """
    if not isinstance(args, list):
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    files = parser.parse_known_args(args)[0].config
    return next((file for file in files if os.path.exists(file) and _is_empty(Path(file))), None)


def _is_empty(file: Path) -> bool:
    """Return whether a YAML file holds nothing, or comments only."""
    try:
        return yaml.safe_load(file.read_bytes()) is None
    except yaml.YAMLError:
        return False


def _sort_reasons(reasons: list[str]) -> tuple[list[str], list[str]]:
    """Return the types that were expected, and the other reasons, without duplicates."""
    expected: dict[str, None] = {}
    problems: dict[str, None] = {}
    for reason in filter(None, reasons):
        if reason == "Expected a <class 'NoneType'>":
            continue
        if match := re.match(r"Expected a <class '(?:.*\.)?(\w+)'>", reason):
            expected[match[1]] = None
        elif match := re.match(r"Not a valid subclass of (\w+)", reason):
            expected[f"a {match[1]}"] = None
        elif reason.startswith("Expected a dot import path"):
            expected["the name of a class"] = None
        elif match := re.match(r"Expected a (?:typing\.)?(.*)", reason):
            expected[match[1]] = None
        else:
            problems[reason] = None
    return list(expected), list(problems)
