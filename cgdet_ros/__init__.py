"""The ROS 2 side of cgdet: thin. Convert, predict, publish; everything else is in cgdet_core."""
