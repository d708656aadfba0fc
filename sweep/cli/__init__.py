"""The command line: a file for each group of commands."""


def main() -> None:
    """Run the command that was typed."""
    from sweep.cli.commands import main

    main()
