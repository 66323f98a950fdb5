"""What the command of an installation made before setup.py named `cgdet_core.cli:main` calls."""

from cgdet_core.cli import main as cgdet

__all__ = ["cgdet"]
