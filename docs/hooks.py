"""Hooks of MkDocs: the pages of the site that are generated, and links to files outside `docs/`.

The options of the commands come from their parsers, the Python reference from the docstrings, and four pages from files
of the repository. None of them is committed a second time.
"""

import os
import pkgutil
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # to build the site of this clone, whichever one is installed

import digitnet  # noqa: E402
from digitnet.cli import COMMANDS  # noqa: E402

# Files of the repository that are pages of the site, by the address of the page in docs/.
REPOSITORY_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security-policy.md": "SECURITY.md",
    "reference/model-card.md": "checkpoints/release/MODEL_CARD.md",
}
ICON = ROOT / "digitnet" / "app" / "static" / "icon.svg"
IMAGE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"^( *)(```+).*?^\1\2[ \t]*$\n?", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"^<!-- not run( below)?: (.*?) -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the images that pages from outside `docs/` show.

    Args:
        files: The files in `docs/`.
        config: The configuration of the site.

    Returns:
        All files of the site.
    """
    files.append(File.generated(config, "assets/icon.svg", abs_src_path=str(ICON)))
    for address, path in REPOSITORY_PAGES.items():
        files.append(File.generated(config, address, content=(ROOT / path).read_text("utf-8")))
        for image in IMAGE.findall((ROOT / path).read_text("utf-8")):
            target = posixpath.join(posixpath.dirname(address), posixpath.basename(image))
            files.append(File.generated(config, target, abs_src_path=str((ROOT / path).parent / image)))
    for command in COMMANDS:
        files.append(File.generated(config, f"reference/commands/{command}.md", content=render_command(command)))
    for package, modules in packages().items():
        files.append(File.generated(config, f"reference/api/{package}.md", content=render_package(package, modules)))
    return files


def render_command(command: str) -> str:
    """Return the reference page of a command.

    Args:
        command: The name of the command.

    Returns:
        Markdown.
    """
    from docs.command_reference import render  # imports torch, which only building the site needs

    return render(command)


def packages() -> dict[str, list[str]]:
    """Return the names of all public modules of digitnet, by package.

    Returns:
        The packages below digitnet with their modules, and `digitnet` with those that are in no package.
    """
    found: dict[str, list[str]] = {"digitnet": []}
    for module in pkgutil.walk_packages(digitnet.__path__, "digitnet."):
        if any(part.startswith("_") for part in module.name.split(".")):
            continue
        if module.ispkg:
            found[module.name] = []
        else:
            found[module.name.rpartition(".")[0]].append(module.name)
    return found


def render_package(package: str, modules: list[str]) -> str:
    """Return the reference page of a package, which mkdocstrings fills from the docstrings.

    Args:
        package: The name of the package.
        modules: The names of its modules.

    Returns:
        Markdown.
    """
    lines = [f"# {package}", "", f"::: {package}", *options(show_root_heading="false", members="false")]
    if package == "digitnet":
        lines += ["", "| import from `digitnet` | |", "|---|---|", *map(public_api_row, public_classes())]
    for module in modules:
        lines += ["", f"::: {module}", *options(heading_level="2", show_root_heading="true")]
    return "\n".join(lines) + "\n"


def public_classes() -> list[type]:
    """Return the classes that programs import from `digitnet`.

    Returns:
        The classes, errors last.
    """
    found = [getattr(digitnet, name) for name in digitnet.__all__]
    return sorted((one for one in found if isinstance(one, type)), key=lambda one: issubclass(one, Exception))


def public_api_row(public_class: type) -> str:
    """Return a row of the table of the public API.

    Args:
        public_class: A class that programs import from `digitnet`.

    Returns:
        A link to its reference, and the first line of its docstring.
    """
    address = f"{public_class.__module__}.{public_class.__qualname__}"
    return f"| [`{public_class.__name__}`][{address}] | {(public_class.__doc__ or '').splitlines()[0]} |"


def options(**values: str) -> Iterator[str]:
    """Return the lines that follow `::: name`.

    Args:
        values: Options of mkdocstrings.

    Yields:
        Lines of YAML.
    """
    yield "    options:"
    for name, value in values.items():
        yield f"      {name}: {value}"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Resolve links to files outside `docs/`, and show why the tests do not run a code block.

    Args:
        markdown: The source of the page.
        page: The page.
        config: The configuration of the site.
        files: All files of the site.

    Returns:
        The source that is rendered.
    """
    if page.parent is None:
        page.meta["hide"] = ["navigation"]  # it would show this page only
    address = page.file.src_uri
    directory = posixpath.dirname(REPOSITORY_PAGES.get(address, f"docs/{address}"))

    def resolve(match: re.Match[str]) -> str:
        return match[1] + resolve_link(match[2], address, directory, config, files) + match[3]

    def replace(text: str) -> str:
        return NOT_RUN.sub(describe_not_run, LINK.sub(resolve, text))

    return outside_fences(markdown, replace)


def describe_not_run(marker: re.Match[str]) -> str:
    """Return the text that replaces the marker of code blocks that no test runs.

    Args:
        marker: The comment in the source.

    Returns:
        A paragraph of HTML.
    """
    blocks = "the following blocks" if marker[1] else "this block"
    return f'<p class="not-run">The tests do not run {blocks}: {marker[2]}.</p>\n'


def outside_fences(markdown: str, replace: Callable[[str], str]) -> str:
    """Change the text of a page, but not its code blocks.

    Args:
        markdown: The source of the page.
        replace: Returns the new text.

    Returns:
        The changed source.
    """
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [replace(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, replace(markdown[end:])])


def resolve_link(link: str, address: str, directory: str, config: MkDocsConfig, files: Files) -> str:
    """Return the target of a link in the site.

    Args:
        link: The link as in the file of the repository.
        address: The address of the page, relative to `docs/`.
        directory: The directory of the file, relative to the repository.
        config: The configuration of the site.
        files: All files of the site.

    Returns:
        The link; to the file in the repository if the site does not have it.
    """
    target, separator, anchor = link.partition("#")
    if "://" in link or link.startswith("mailto:") or not target:
        return link
    path = posixpath.normpath(posixpath.join(directory, target))
    inside = address_in_site(path, address)
    file = files.get_file_from_path(inside)
    if file and not file.inclusion.is_excluded():
        return posixpath.relpath(inside, posixpath.dirname(address) or ".") + separator + anchor
    if not os.path.exists(ROOT / path):
        return link  # MkDocs reports it
    kind = "tree" if os.path.isdir(ROOT / path) else "blob"
    return f"{config.extra['repository']}/{kind}/main/{path}{separator}{anchor}"


def address_in_site(path: str, address: str) -> str:
    """Return where the site has a file of the repository, if it has it.

    Args:
        path: The path of the file, relative to the repository.
        address: The address of the page with a link to the file.

    Returns:
        The address, relative to `docs/`, or an empty string.
    """
    pages = {source: page for page, source in REPOSITORY_PAGES.items()} | {"README.md": "index.md"}
    if path in pages:
        return pages[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    is_image = address in REPOSITORY_PAGES and path.endswith(".png")  # on_files puts it beside the page
    return posixpath.join(posixpath.dirname(address), posixpath.basename(path)) if is_image else ""
