"""A tracker: a line of JSON for each result, in a file beside the home's sweeps."""

import json

from sweep.records.record import RunRecord
from sweep.space.registries import TRACKERS
from sweep.tracking.trackers.base import Tracker


class JSONLines(Tracker):
    """The last line of a key counts."""

    def send(self, record: RunRecord) -> None:
        """Append a line."""
        line = {"key": record.key, "state": record.state, **record.test}
        with (self.folder.home / f"{self.folder.name}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


TRACKERS.register("json_lines", JSONLines)
