"""Installs cgdet_core and cgdet_ros, for colcon (ament_python) and for pip."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.develop import develop

PACKAGE = "cgdet_ros"
HERE = Path(__file__).resolve().parent
SHARE = f"share/{PACKAGE}"
SHARED_FOLDERS = ("launch", "config", "rviz", "foxglove", "models")


def version():
    text = (HERE / "cgdet_core" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE).group(1)


def requirements(name):
    lines = (HERE / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def shared_files():
    """What the ROS tools look for below share/, folder by folder, paths relative to this file."""
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (SHARE, ["package.xml"]),
    ]
    for top in SHARED_FOLDERS:
        for folder in (HERE / top, *sorted(path for path in (HERE / top).rglob("*") if path.is_dir())):
            inside = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
            found = [str(path.relative_to(HERE)) for path in inside if not path.name.startswith(".")]
            if found and folder.name != "__pycache__":
                files.append((f"{SHARE}/{folder.relative_to(HERE)}", found))
    return files


class Develop(develop):
    """colcon's --symlink-install: here setuptools forgets the interpreter that setup.cfg names for executables."""

    def write_script(self, script_name, contents, mode="t", *blockers):
        executable = self.get_finalized_command("build_scripts").executable
        _, _, rest = contents.partition("\n")
        super().write_script(script_name, f"#!{executable}\n{rest}", mode, *blockers)


setup(
    name=PACKAGE,
    version=version(),
    description="Detects people, bicycles and cars in thermal images; learned from RGB, drives without it",
    license="Apache-2.0",
    maintainer="cgdet maintainers",
    maintainer_email="maintainers@cgdet.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=["cgdet_core", "cgdet_core.*", "cgdet_ros", "cgdet_ros.*"]),
    package_data={"": ["py.typed", "*.html", "*.j2", "*.css", "*.js"]},
    # An editable installation reads launch, config and models where they lie: a copy would grow stale.
    data_files=[] if "editable_wheel" in sys.argv else shared_files(),
    install_requires=requirements("core.txt"),
    extras_require={name: requirements(f"{name}.txt") for name in ("train", "test", "onnxruntime", "tensorrt")},
    zip_safe=False,
    cmdclass={"develop": Develop},
    entry_points={
        "console_scripts": [
            "cgdet = cgdet_core.cli:main",
            "cgdet-detector = cgdet_ros:detector",
            "cgdet-landmarks = cgdet_ros:landmarks",
            "cgdet-replay = cgdet_ros:replay",
            # the names under which `ros2 run cgdet_ros` finds them
            "detector = cgdet_ros:detector",
            "landmarks = cgdet_ros:landmarks",
            "replay = cgdet_ros:replay",
        ]
    },
)
