"""The command line: list, certify, fuzz, new-adapter, vectors, report, diff, history, explain.

A user's mistake is one line and exit code 2, never a traceback.
"""

from __future__ import annotations

import click

import conv1d_cts
from conv1d_cts.commands import adapting, certifying, explaining, fuzzing, reporting


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(conv1d_cts.__version__, prog_name="conv1d-cts")
def main() -> None:
    """Certify implementations of the 1-D convolution of neural networks, clause by clause."""


for command in (
    adapting.list_backends, certifying.certify_backends, fuzzing.go_on, adapting.new_adapter, adapting.vectors,
    reporting.merge, reporting.compare, reporting.tell_history, explaining.explain,
):  # fmt: skip
    main.add_command(command)
