"""``foveal completion``: shell completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
HOW_TO = """\b
To have it in every new shell:
  bash:  echo 'eval "$(foveal completion bash)"' >> ~/.bashrc
  zsh:   echo 'eval "$(foveal completion zsh)"' >> ~/.zshrc
  fish:  foveal completion fish > ~/.config/fish/completions/foveal.fish
"""


@click.command(epilog=HOW_TO)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands in a shell."""
    maker = get_completion_class(shell)
    if maker is None:
        raise click.UsageError(f"this version of click does not know {shell}")
    click.echo(maker(ctx.find_root().command, {}, "foveal", "_FOVEAL_COMPLETE").source())
