"""Makes .venv complete, or does nothing where it is: see environment/plan.py.

    python3 tools/setup_environment.py [--with-tests] [--check]

This file holds the check of the Python version alone, in words that any Python reads.
"""

import sys

if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.stderr.write("cgdet set-up: " + sys.executable + " is Python " + ".".join(map(str, sys.version_info[:2])))
    sys.exit(", and cgdet needs 3.10 to 3.13: name one with make PYTHON=python3.12")

from environment.plan import main

sys.exit(main())
