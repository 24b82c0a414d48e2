"""`livinglab completion`: the shell completes commands and options."""

import click

SHELLS = ("bash", "zsh", "fish")
_HOW = {"bash": 'eval "$(livinglab completion bash)", in ~/.bashrc', "zsh": 'eval "$(livinglab completion zsh)", in ~/.zshrc',
        "fish": "livinglab completion fish >~/.config/fish/completions/livinglab.fish"}  # fmt: skip


@click.command(help="Print what makes SHELL complete commands and options.\n\n\b\n" + "\n".join(_HOW.values()))
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """See the command's help."""
    from click.shell_completion import get_completion_class

    from livinglab.cli import group

    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(shell)
    click.echo(kind(group, {}, "livinglab", "_LIVINGLAB_COMPLETE").source())
