"""What a launch tells whoever has called it: a terminal, a notebook, nobody."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sweep.records.progress import CellProgress

Decoding = Callable[[int, int], None]  # the number of decoded images, and of all images


class Listener:
    """Is told what happens in a launch, and shows nothing of it; subclasses show what they like."""

    def note(self, text: str) -> None:
        """Take a sentence that the user should read."""

    def decoding(self) -> AbstractContextManager[Callable[[str], Decoding]]:
        """Return what makes a `Decoding` of the title of a set of images, while it is entered."""
        return nullcontext(lambda title: lambda done, total: None)

    def begin(self, tracking_uri: str) -> None:
        """Take note that all checks have passed, and where runs go, without passwords."""

    def searching(
        self, objective: str
    ) -> AbstractContextManager[Callable[[list[CellProgress]], None]]:
        """Return what takes how far the cells are, while it is entered.

        Args:
            objective: name of the validation metric that chooses.
        """
        return nullcontext(lambda cells: None)
