"""``python -m tastevec`` is the command ``tastevec``."""

from tastevec.cli import main

main()
