"""The command line: one command a stage."""

import signal
import sys

if sys.argv[1:2] == ["serve"] and hasattr(signal, "SIGHUP"):
    # It reloads the model once the service runs; until then it must not end the process. Imports take a second.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

from tastevec.cli.app import main

__all__ = ["main"]
