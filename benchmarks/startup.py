"""How long the command line takes to answer.

`sweep --help` against `python -c "import click"`, a space file with a wrong key, and a process that
imports what `sweep launch` needs and ends: as Python does it, and as `sweep` does.

    python benchmarks/startup.py
"""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from machine import SWEEP, describe, median_seconds

REPEATS, OF_IMPORTS = 9, 5
IMPORTS = "import sweep.run.launch"
QUICKLY = f"""
from sweep.base.interpreter import quick_exit
with quick_exit():
    {IMPORTS}
"""


def run(command: list[str], code: int) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == code, done.stderr


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        wrong = Path(name) / "wrong.yaml"
        wrong.write_text("name: x\ndatasets: [digits]\nbackbones: [lite0]\nseedz: 3\n")
        click = median_seconds(lambda: run([sys.executable, "-c", "import click"], 0), REPEATS)
        usage = median_seconds(lambda: run([*SWEEP, "--help"], 0), REPEATS)
        refusal = median_seconds(lambda: run([*SWEEP, "launch", "--space", str(wrong)], 2), REPEATS)
    commands = ([sys.executable, "-c", code] for code in (IMPORTS, QUICKLY))
    plain, quickly = (median_seconds(partial(run, c, 0), OF_IMPORTS) for c in commands)
    print(describe())
    print(f'python -c "import click"      {click:6.3f} s')
    print(f"sweep --help                  {usage:6.3f} s  {usage / click:.1f} x")
    print(f"a wrong key is refused after  {refusal:6.3f} s")
    print(f"imports and exit of a launch  {plain:6.3f} s as Python does it")
    print(f"  with a quick exit           {quickly:6.3f} s")


if __name__ == "__main__":
    main()
