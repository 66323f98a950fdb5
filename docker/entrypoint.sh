#!/bin/bash
# Runs a command with ROS, the environment and the built package on its paths.
set -e
# shellcheck disable=SC1090,SC1091
{
    source "/opt/ros/${ROS_DISTRO}/setup.bash"
    source /ws/src/cgdet/.venv/bin/activate
    source /ws/install/setup.bash
}
exec "$@"
