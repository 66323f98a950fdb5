"""Installs cgdet_core and cgdet_ros, for colcon (ament_python) and for pip."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.develop import develop

PACKAGE = "cgdet_ros"
HERE = Path(__file__).resolve().parent
SHARE = f"share/{PACKAGE}"
SHARED_FOLDERS = ("launch", "config", "rviz", "foxglove", "models")


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


setup(  # the rest stands in setup.cfg; of that colcon could not read the next line
    python_requires=">=3.10",
    # An editable installation reads launch, config and models where they lie: a copy would grow stale.
    data_files=[] if "editable_wheel" in sys.argv else shared_files(),
    install_requires=requirements("core.txt"),
    extras_require={
        name: requirements(f"{name}.txt") for name in ("train", "test", "onnxruntime", "tensorrt", "remote", "ray")
    },
    cmdclass={"develop": Develop},
)
