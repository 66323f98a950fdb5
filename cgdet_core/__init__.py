"""cgdet_core: thermal object detection without ROS: data, model, training, runtime, evaluation."""

__version__ = "0.1.0"
