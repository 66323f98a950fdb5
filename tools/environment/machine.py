"""What the machine has: a usable Python, a compiler, a ROS 2 installation."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from environment.progress import SetupError


@dataclass(frozen=True)
class RosInstallation:
    """A sourced ROS 2 whose rclpy the Python at hand can import."""

    distribution: str
    numpy_major: int | None


def python_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def base_python() -> Path:
    """The interpreter that environments are made from, also where this one is an environment's."""
    settings = Path(sys.executable).parent.parent / "pyvenv.cfg"
    if settings.is_file():
        for line in settings.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home":
                return Path(value.strip()) / f"python{python_version()}"
    return Path(sys.executable)


def can_import(python: Path, module: str) -> bool:
    probe = [str(python), "-c", f"import {module}"]
    return subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def sourced_ros(venv: Path) -> RosInstallation | None:
    """The ROS 2 installation of this terminal; None where none is sourced.

    A sourced one that this Python cannot use is an error: its PYTHONPATH and libraries would come
    before any wheels and break them.
    """
    distribution = os.environ.get("ROS_DISTRO", "")
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    outside = [p for p in prefixes if Path(p).resolve() != venv.resolve()]
    if not distribution or not outside:
        return None
    python = base_python()
    if not can_import(python, "rclpy"):
        raise SetupError(
            f"ROS 2 {distribution} is sourced, but {python} cannot import its rclpy: "
            "name the Python it was made for (make PYTHON=/usr/bin/python3 ...) or use a terminal without it"
        )
    for module in ("vision_msgs.msg", "cv_bridge"):
        if not can_import(python, module):
            name = module.split(".")[0].replace("_", "-")
            raise SetupError(
                f"ROS 2 {distribution} is sourced and lacks {name}: sudo apt install ros-{distribution}-{name}"
            )
    return RosInstallation(distribution, _numpy_major(python))


def _numpy_major(python: Path) -> int | None:
    probe = [str(python), "-c", "import numpy; print(numpy.__version__.split('.')[0])"]
    answer = subprocess.run(probe, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return int(answer.stdout) if answer.returncode == 0 else None


def check_tools(build_messages: bool) -> None:
    """Raises SetupError with one line that names every missing tool and its Debian package."""
    debian = Path("/usr/bin/python3")
    is_default = debian.exists() and debian.resolve() == base_python().resolve()
    prefix = "python3" if is_default else f"python{python_version()}"
    missing: list[tuple[str, str]] = []
    if not (can_import(base_python(), "venv") and can_import(base_python(), "ensurepip")):
        missing.append(("the Python modules venv and ensurepip", f"{prefix}-venv"))
    if build_messages:
        if platform.system() != "Linux" or platform.machine() != "x86_64":
            raise SetupError(
                f"the ROS 2 wheels are for x86-64 Linux and this is {platform.machine()} {platform.system()}: "
                "install ROS 2 Jazzy and source it before make"
            )
        if not _any_tool(os.environ.get("CC", ""), "cc", "gcc", "clang"):
            missing.append(("a C compiler", "build-essential"))
        if not _any_tool(os.environ.get("CXX", ""), "c++", "g++", "clang++"):
            missing.append(("a C++ compiler", "build-essential"))
        if not _any_tool("make", "gmake"):
            missing.append(("make", "build-essential"))
        if not any((folder / "Python.h").is_file() for folder in _include_folders()):
            missing.append(("the Python headers", f"{prefix}-dev"))
    if missing:
        tools = ", ".join(tool for tool, _ in missing)
        packages = " ".join(dict.fromkeys(package for _, package in missing))
        raise SetupError(f"this machine lacks {tools}: sudo apt install {packages}")


def _include_folders() -> list[Path]:
    """Of the base interpreter: an environment has no headers of its own."""
    bases = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix, "installed_base": sys.base_prefix}
    return [Path(sysconfig.get_path("include", vars=bases)), Path(sysconfig.get_config_var("INCLUDEPY") or "")]


def _any_tool(*names: str) -> bool:
    return any(name and shutil.which(name.split()[0]) for name in names)
