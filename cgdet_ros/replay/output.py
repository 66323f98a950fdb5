"""Where a replay writes: all of its results appear at once, in place of all of those of the run before."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from cgdet_core.errors import InputError
from cgdet_core.files import make_folder


@dataclass(frozen=True)
class ResultNames:
    """The files of one model."""

    detections: str
    frames: str
    video: str


_OF_A = ResultNames("detections.json", "frames.csv", "annotated.webm")
_OF_B = ResultNames("detections_b.json", "frames_b.csv", "annotated_b.webm")
# in the order in which they appear: metrics.json last, so that who finds it finds the others
RESULT_NAMES = (*astuple(_OF_A), *astuple(_OF_B), "report.html", "metrics.json")
# as a person wants them
IN_ORDER_OF_USE = (
    *("report.html", _OF_A.video, _OF_B.video, _OF_A.detections, _OF_B.detections, _OF_A.frames, _OF_B.frames),
    "metrics.json",
)


def results_of(models: int) -> tuple[ResultNames, ...]:
    """The files of each of one or two models."""
    return (_OF_A, _OF_B)[:models]


def check_output(out: Path) -> None:
    """Make `out` a folder; InputError where it is none, cannot be written to, or a result's name is taken in it."""
    make_folder(out)
    for name in RESULT_NAMES:
        if (out / name).is_dir():
            raise InputError(f"{out / name}: is a folder where a result belongs: give another --out")


@contextmanager
def results_folder(out: Path) -> Iterator[Path]:
    """A folder inside `out` to write into. At the end its files replace the results of the run before, of which none
    stays; where anything fails, they stay as they are."""
    folder = Path(tempfile.mkdtemp(prefix=".cgdet_replay.", dir=out))
    try:
        yield folder
        with _uninterrupted():
            (out / RESULT_NAMES[-1]).unlink(missing_ok=True)
            for name in RESULT_NAMES:
                if (folder / name).exists():
                    os.replace(folder / name, out / name)
                else:
                    (out / name).unlink(missing_ok=True)
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(out))) from None
    except OSError as error:
        raise InputError(
            f"{out}: the results cannot be written ({error.strerror or error}): give another --out"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes before or after, so that what is said then is true."""
    if threading.current_thread() is not threading.main_thread():  # no other may say what happens to a signal
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
