"""What a tracker is: something that shows or keeps the results of a sweep elsewhere."""

from abc import ABC, abstractmethod

from sweep.records.folder import SweepFolder
from sweep.records.record import RunRecord


class Tracker(ABC):
    """Takes the results of one sweep, off the path of the training.

    A tracker is registered as a class. It is made when there is something to send, in a thread of
    its own, and made anew after it has raised: what it raises, when it is made or by `send`, is
    told at the end of the sweep, and the result is sent again later.

    Args:
        folder: of the sweep: its name, its space, its records, predictions and models.
        uri: MLflow's tracking store, as the sweep was launched with it.
    """

    def __init__(self, folder: SweepFolder, uri: str) -> None:
        self.folder, self.uri = folder, uri

    @abstractmethod
    def send(self, record: RunRecord) -> None:
        """Take the result of a trial, a confirmation or a cell; again does no harm.

        A record of the same key may come again with another content: it then stands for the one
        before. Neither a file name nor an identifier of a patient is in a record.
        """

    def describe(self, answer: str) -> None:  # noqa: B027 - most show results alone
        """Show what a finished sweep has found.

        Args:
            answer: the sentences of its comparison, as Markdown.
        """

    def delete_strays(self) -> None:  # noqa: B027 - most have nothing to delete
        """Delete what was sent of runs that have no record, as their trials were lost."""

    @classmethod
    def advice(cls, uri: str, text: str) -> str | None:
        """Return what to do about an error, by its text, or None."""
        return None
