#!/bin/sh
# make lint and make test: every check runs and is reported; the exit status is that of all together.
# pytest comes last, so that its closing line closes the output.
set -u
bin=.venv/bin
failed=""

check() {
    name="$1"
    shift
    echo "== $name"
    "$@" || failed="$failed $name;"
}

check "ruff check" "$bin/ruff" check .
check "ruff format --check" "$bin/ruff" format --check .
check "mypy" "$bin/python" -m mypy
check "import contracts" "$bin/lint-imports" --no-logo
[ -z "$failed" ] || echo "FAILED:$failed"

if [ "$1" = all ]; then
    echo "== pytest"
    # A sourced ROS puts launch_testing's pytest plugins on PYTHONPATH, and those of Humble and Jazzy break pytest 9
    # before the first test (ros2/launch#979, #991). No test needs a plugin that pytest would load by itself;
    # the one that shares them among processes is named.
    export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
    # A process for every CPU, four at most: each holds torch. The tests of a file share what was made for them.
    workers=$("$bin/python" -c "import os; print(min(4, len(os.sched_getaffinity(0))))")
    "$bin/python" -m pytest -p xdist.plugin --numprocesses "$workers" --dist loadfile || failed="$failed pytest;"
fi
[ -z "$failed" ]
