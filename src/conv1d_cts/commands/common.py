"""What commands share: kinds of paths, a user's mistake, a line to the terminal."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, file_okay=False, path_type=Path)


class Mistake(click.ClickException):
    """A user's mistake that click itself can't see: one line, exit code 2."""

    exit_code = 2


def say(text: str) -> None:
    """A line beside the result, on standard error."""
    click.echo(text, err=True)


def make_folder(folder: Path) -> None:
    """Create the folder and prove that a file can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Mistake(f"cannot write to {folder}: {error.strerror}") from None


def interpreter_at(python: str) -> str:
    """The path of the interpreter; not that of what it links to, which would leave its virtual environment."""
    found = shutil.which(python)
    if found is None:
        raise Mistake(f"no interpreter {python!r}")
    return str(Path(found).absolute())
