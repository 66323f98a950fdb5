"""The node of facial landmarks beside a camera's driver, with faces from a topic or from a fixed region.

ros2 launch cgdet_ros landmarks.launch.py image:=/cabin/image_raw faces:=/cabin/faces
ros2 launch cgdet_ros landmarks.launch.py image:=/cabin/image_raw region_xyxy_px:='[100, 20, 420, 340]' rviz:=true
"""

from pathlib import Path

from cgdet_ros.launching import argument, beside_a_driver

SHARE = Path(__file__).resolve().parents[1]

OWN = [
    argument("name", "thermal_landmarks", "name of the node"),
    argument("faces", "faces", "topic of the faces' boxes (vision_msgs/Detection2DArray)"),
    argument("region_xyxy_px", "", "where one face is looked for, '[left, top, right, bottom]'; empty: as in the file"),
    argument("landmarks", "landmarks", "topic of the answers (hri_msgs/FacialLandmarks), one for each face"),
]


def generate_launch_description():
    return beside_a_driver(SHARE, "landmarks", OWN, ["faces", "landmarks"])
