"""Temporary virtual environments of the interpreter that measures."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PTH = "crashenv_startup.pth"


class NotInstalled(Exception):
    """pip failed; the message is its reason, in one line."""


class Environments:
    """Virtual environments in ``folder``.

    Each contains only what was asked for: setuptools, which up to 3.11 comes with
    ``venv``, has its own ``.pth`` file, whose import at every start would make the
    ratios look better than they are. So pip is in a separate environment.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pip = folder / "pip"
        _check(sys.executable, "-m", "venv", str(self._pip))
        # --python, which installs into another environment, came with pip 22.3
        _check(*self._pip_command(), "install", "--upgrade", "pip")

    def _pip_command(self) -> Sequence[str]:
        return (_python(self._pip), "-m", "pip", "--disable-pip-version-check")

    def create(self, name: str, *requirements: str) -> str:
        """Return the path of the new environment's interpreter; may raise NotInstalled."""
        place = self._folder / name
        _check(sys.executable, "-m", "venv", "--without-pip", str(place))
        python = _python(place)
        if requirements:
            _check(*self._pip_command(), "--python", python, "install", *requirements)
        return python

    def create_with_crashenv(self, name: str) -> str:
        return self.create(name, str(ROOT))

    def copy_with_comment(self, python: str, name: str) -> str:
        """Copy it with its .pyc files, and replace the ``.pth`` line by an empty comment."""
        place = self._folder / name
        shutil.copytree(Path(python).parent.parent, place, symlinks=True)
        (startup,) = place.glob("lib/python*/site-packages/" + _PTH)
        startup.write_text("#\n")
        return _python(place)

    def copy_with_empty_package(self, python: str, name: str) -> str:
        """Copy it with an empty package: no start can cost less."""
        place = self._folder / name
        shutil.copytree(Path(python).parent.parent, place, symlinks=True)
        (package,) = place.glob("lib/python*/site-packages/crashenv/__init__.py")
        package.write_text("_on = None\n")
        compileall.compile_file(package, force=True, quiet=1)
        return _python(place)

    def copy_of_sitecustomize(self) -> str:
        """Return the checkout's folder for PYTHONPATH; a copy, so that it has .pyc files."""
        place = self._folder / "checkout"
        ignored = shutil.ignore_patterns("__pycache__")
        for part in ("sitecustomize", "src"):
            shutil.copytree(ROOT / part, place / part, ignore=ignored)
        compileall.compile_dir(place, quiet=1)
        return str(place / "sitecustomize")


def _python(place: Path) -> str:
    return str(place / "bin" / "python")


def _check(*command: str) -> None:
    """Run it without variables that affect an interpreter, above all PYTHONDONTWRITEBYTECODE."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PY")}
    done = subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no reason"]
        raise NotInstalled(errors[-1])
