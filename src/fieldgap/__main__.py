"""Run the command line: python -m fieldgap."""

import sys

from fieldgap.cli import main

sys.exit(main(sys.argv[1:]))
