"""The command line: a file for each group of commands."""


def main() -> None:
    """Run the command that was typed, and end this process."""
    from sweep.base.interpreter import quick_exit

    with quick_exit():
        run()


def run() -> None:
    """Run the command that was typed; every failure is a SystemExit with its code."""
    from sweep.cli.commands import main

    main()
