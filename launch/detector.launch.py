"""The detector beside a camera's driver.

ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw namespace:=front device:=cuda:0
ros2 launch cgdet_ros detector.launch.py image:=/flir/image_raw params_file:=my.yaml rviz:=true
"""

from pathlib import Path

from cgdet_ros.launching import argument, beside_a_driver

# share/cgdet_ros once installed, the root of the sources before
SHARE = Path(__file__).resolve().parents[1]

OWN = [
    argument("name", "thermal_detector", "name of the node"),
    argument("detections", "detections", "topic of the answers (vision_msgs/Detection2DArray)"),
]


def generate_launch_description():
    return beside_a_driver(SHARE, "detector", OWN, ["detections"])
