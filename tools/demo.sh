#!/bin/sh
# make demo: a bag through the real node, and a report of it. Settings come as environment variables.
set -eu
bin=.venv/bin
export ROS_LOG_DIR="${ROS_LOG_DIR:-$PWD/build/log/ros}"
mkdir -p "$OUT"

bag="$BAG"
if [ -z "$bag" ]; then
    bag="$OUT/bag"
    "$bin/cgdet" bag make --overwrite --out "$bag" --seed "$SEED" --seconds "$SECONDS_LONG"
fi

set -- --bag "$bag" --out "$OUT"
[ -z "$TOPIC" ] || set -- "$@" --topic "$TOPIC"
[ -z "$MODEL" ] || set -- "$@" --model "$MODEL"
[ -z "$RATE" ] || set -- "$@" --rate "$RATE"
exec "$bin/cgdet-replay" "$@"
