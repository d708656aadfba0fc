"""How long the quickstart takes: `sweep launch --space quickstart` to its table, `sweep report`.

python benchmarks/quickstart.py
"""

import tempfile
from pathlib import Path

from machine import describe, run_sweep


def main() -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        launch = run_sweep("launch", "--space", "quickstart", folder=folder)
        report = run_sweep("report", "quickstart", "--output", "report.html", folder=folder)
    print(f"launch {launch:6.1f} s")
    print(f"report {report:6.1f} s")
    print(f"in all {launch + report:6.1f} s")


if __name__ == "__main__":
    main()
