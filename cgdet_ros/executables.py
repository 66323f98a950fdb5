"""What the executables of an installation made before setup.py named the main functions call."""


def detector() -> int:
    from cgdet_ros.node.detector_node import main

    return main()


def replay() -> int:
    from cgdet_ros.replay.cli import main

    return main()
