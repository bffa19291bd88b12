"""The peers' environment: made where it is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["HERE", "ready"]

HERE = Path(__file__).resolve().parent


def ready(folder: Path = HERE / ".venv") -> Path:
    """Its Python, after everything in requirements.txt has been installed into it, once."""
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = (HERE / "requirements.txt").read_text()
    if not done.exists() or done.read_text() != wanted:
        print(f"Installing RecTools into {folder}: 1.4 GB, a minute or more.", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=False).returncode:
            sys.exit(
                "RecTools could not be installed; expected Python 3.11 or 3.12 and a registry; what pip said of it stands above"
            )
        done.write_text(wanted)  # last: what was cut short is begun anew
    return python
