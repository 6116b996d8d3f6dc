"""A group of commands that are imported only when one of them runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class CommandAt:
    """Where a command is found.

    Attributes:
        where: ``module:attribute``.
        summary: its line in the list of commands; the first sentence of its own help.
    """

    where: str
    summary: str


class LazyGroup(click.Group):
    """A :class:`click.Group` that lists its commands without importing them."""

    def __init__(self, *args: Any, at: Mapping[str, CommandAt], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.at = dict(at)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order in which they were given."""
        return list(self.at)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.at:
            return None
        module, _, name = self.at[cmd_name].where.partition(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.at[cmd_name].where} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self.at.items()])
