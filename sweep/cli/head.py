"""Run on the head of a cluster, as a job, the one command that `sweep.remote.client` sent.

    python -m sweep.cli.head NAME REQUEST

NAME is for people who read the dashboard; REQUEST is what `sweep.remote.request.packed` made.
"""

import base64
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

from sweep import __version__
from sweep.cli import run as run_command
from sweep.remote.answers import Answer, give_answer
from sweep.remote.request import Request, unpack


def main() -> None:
    """Run the request of the command line; exit as `sweep` would."""
    request = unpack(sys.argv[-1])
    for name, value in request.environment.items():
        os.environ.setdefault(name, value)
    os.environ.pop("SWEEP_ADDRESS", None)  # this process runs on the head itself
    # Neither the user nor the head names a server, so runs go beside the sweeps.
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        home = _home()
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{home / 'mlflow.db'}"
        with contextlib.suppress(OSError):  # MLflow writes artifacts relative to the current folder
            home.mkdir(parents=True, exist_ok=True)
            os.chdir(home)
    if request.version != __version__:
        text = f"sweep {request.version} here, {__version__} on the cluster: install the same\n"
        _refuse(request, text)
    with tempfile.TemporaryDirectory() as scratch:
        places = {name: Path(scratch) / name for name in ("space.yaml", "output")}
        if request.space is not None:
            places["space.yaml"].write_text(request.space, "utf-8")
        for name, text in request.modules.items():
            (Path(scratch) / f"{name}.py").write_text(text, "utf-8")
        filled = [
            text.replace("{space}", str(places["space.yaml"])).replace(
                "{output}", str(places["output"])
            )
            for text in request.arguments
        ]
        sys.argv = ["sweep", *filled]
        if request.question is None:
            run_command()
            return
        print(give_answer(_home(), request.question, _answer(places["output"])))


def _refuse(request: Request, text: str) -> None:
    if request.question is not None:
        print(give_answer(_home(), request.question, Answer(2, "", f"Error: {text}")))
        sys.exit(0)
    sys.stderr.write(f"Error: {text}")
    sys.exit(2)


def _home() -> Path:
    return Path(os.environ["SWEEP_HOME"]).absolute()


def _answer(output: Path) -> Answer:
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command()
        except SystemExit as ended:
            code = int(ended.code or 0)
    file = base64.b64encode(output.read_bytes()).decode() if output.is_file() else None
    text = out.getvalue().replace(str(output), "{output}")
    return Answer(code, text, err.getvalue(), file)


if __name__ == "__main__":
    main()
