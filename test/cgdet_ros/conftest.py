"""A tiny model, and a plain ROS node beside the detector that talks to it over DDS."""

from __future__ import annotations

import array
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed: make setup")

SIZE = (64, 96)
TIMEOUT_S = 30.0


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with small, random weights for frames of 64 x 96 pixels; what it finds depends on every pixel.

    As ONNX, so that a node is up without PyTorch; the .safetensors lies beside it.
    """
    import torch

    from cgdet_core.config import ModelConfig, PostprocessConfig
    from cgdet_core.runtime.export import write_export
    from cgdet_core.runtime.model_file import ModelInfo, read_description, save_model
    from cgdet_core.tasks.detection.head import DetectionNetwork

    torch.manual_seed(3)
    config = ModelConfig(
        widths=(8, 8, 16, 16, 16), depths=(1, 1, 1, 1), neck_depth=0, head_width=8, bins=4, input_height_width_px=SIZE
    )
    detector = DetectionNetwork(config)
    for parameter in detector.parameters():
        if parameter.ndim == 4:
            torch.nn.init.normal_(parameter, std=1.2 / parameter[0].numel() ** 0.5)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    own = PostprocessConfig(score_threshold=0.3, class_thresholds={"car": 0.4}, nms_iou=0.55, max_detections=50)
    save_model(path, detector, ModelInfo(model=config, postprocess=own))
    exported = path.with_suffix(".onnx")
    write_export(path, exported, read_description(path))
    return exported


@pytest.fixture(scope="session")
def disc_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A landmark model, as ONNX, with weights set by hand: its "faces" are bright discs, the points of which lie at the
    left, right, upper and lower end in turn (place % 4). Where there is no disc it is not sure."""
    import torch

    from cgdet_core.config import LandmarkModelConfig, LandmarkPostprocessConfig
    from cgdet_core.runtime.export import write_export
    from cgdet_core.runtime.model_file import ModelInfo, read_description, save_model
    from cgdet_core.tasks.landmarks.head import LandmarkNetwork

    config = LandmarkModelConfig(widths=(8, 8, 8, 8, 8), depths=(0, 0, 0, 0), head_width=8)
    network = LandmarkNetwork(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm.weight" not in name:
                parameter.zero_()
        step = torch.tensor([-1.0, 0.0, 1.0]).expand(3, 3) * 4
        for channel, edge in enumerate((step, -step, step.T, -step.T)):
            network.stem.conv.weight[channel, 0] = edge
            for stage in network.stages[:2]:
                stage[0].conv.weight[channel, channel] = 1 / 3
            network.head.enter[0].weight[channel, channel] = 1
            network.head.mix.conv.weight[channel, channel, 1, 1] = 1
            network.head.leave.weight[channel::4, channel] = 0.3
    own = LandmarkPostprocessConfig(lost_below=0.08)
    path = tmp_path_factory.mktemp("model") / "discs.safetensors"
    save_model(path, network, ModelInfo(task="landmarks", model=config, postprocess=own))
    exported = path.with_suffix(".onnx")
    write_export(path, exported, read_description(path))
    return exported


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """rclpy, once for a module."""
    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


class Client:
    """A node of its own that sends images to the node of that name in `namespace` and keeps its answers."""

    def __init__(self, namespace: str, name: str = "thermal_detector", answers: tuple[Any, str] | None = None) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        self.namespace, self.name = namespace, f"{namespace}/{name}"
        answer_type, self._answer_topic = answers or (Detection2DArray, "detections")
        self.answers: list[Any] = []
        self.node = rclpy.create_node("client", namespace=namespace)
        self.images = self.node.create_publisher(
            Image, "image", QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        )
        self.node.create_subscription(answer_type, self._answer_topic, self.answers.append, 100)
        self.reports: list[Any] = []
        self._reports_when_asked = 0
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=5)
        self._thread.join(timeout=5)
        self.node.destroy_node()

    def _on_diagnostics(self, message: Any) -> None:
        self.reports.extend(status for status in message.status if status.name == self.name)

    def report(
        self, matches: Callable[[int, str, dict[str, str]], bool], what: str, since_asked: bool = False
    ) -> tuple[int, str, dict[str, str]]:
        """The first report from now on whose level, message and values match.

        since_asked: from the last `ask` on, for what a single report tells: it may be here before the answer is.
        """
        before = self._reports_when_asked if since_asked else len(self.reports)

        def read(status: Any) -> tuple[int, str, dict[str, str]]:
            values = {value.key: value.value for value in status.values}
            return int.from_bytes(status.level, "little"), status.message, values

        self.until(lambda: any(matches(*read(status)) for status in self.reports[before:]), f"a report of {what}")
        return next(seen for status in self.reports[before:] if matches(*(seen := read(status))))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"{what} did not happen within {TIMEOUT_S} s"
            time.sleep(0.005)

    def compressed(self) -> Any:
        """A publisher of compressed images, in the place of the raw one."""
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CompressedImage

        self.images = self.node.create_publisher(CompressedImage, "image/compressed", QoSProfile(depth=20))
        return self.images

    def connected(self) -> None:
        """Wait until images would be received and answers heard."""
        self.until(
            lambda: (
                self.images.get_subscription_count() > 0
                and self.node.count_publishers(f"{self.namespace}/{self._answer_topic}") > 0
            ),
            "discovery",
        )
        time.sleep(0.2)  # the other side's view of us

    def send(self, message: Any) -> None:
        self.images.publish(message)

    def ask(self, message: Any) -> Any:
        """Send until there is an answer with this stamp; the answer."""
        before = len(self.answers)
        self._reports_when_asked = len(self.reports)
        self.send(message)
        self.until(
            lambda: any(answer.header.stamp == message.header.stamp for answer in self.answers[before:]), "an answer"
        )
        return next(answer for answer in self.answers[before:] if answer.header.stamp == message.header.stamp)

    def counts_of(self, detector: Any) -> Any:
        """Its counts, once it has done all with the frames that it has: an answer is heard before it is counted."""
        detector._pipeline.worker._thread.submit(lambda: None).result(TIMEOUT_S)
        return detector._log.counts

    def call(self, service_type: Any, name: str, request: Any) -> Any:
        client = self.node.create_client(service_type, name)
        try:
            self.until(client.service_is_ready, f"service {name}")
            future = client.call_async(request)
            self.until(future.done, f"an answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def transition(self, name: str) -> bool:
        """Ask for a transition by the name of its constant; whether it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}")))
        return bool(self.call(ChangeState, f"{self.name}/change_state", request).success)

    def reconfigure(self, **values: Any) -> None:
        """From active to active with other parameters."""
        for name in ("deactivate", "cleanup"):
            assert self.transition(name)
        assert self.set_parameters(**values) == (True, "")
        for name in ("configure", "activate"):
            assert self.transition(name)
        self.connected()

    def state(self) -> str:
        from lifecycle_msgs.srv import GetState

        answer = self.call(GetState, f"{self.name}/get_state", GetState.Request())
        return str(answer.current_state.label)

    def set_parameters(self, **values: Any) -> tuple[bool, str]:
        """All at once; whether they were taken, and why not. Dots are written as two underscores."""
        from rcl_interfaces.srv import SetParametersAtomically
        from rclpy.parameter import Parameter

        named = [Parameter(name.replace("__", "."), value=value).to_parameter_msg() for name, value in values.items()]
        answer = self.call(
            SetParametersAtomically,
            f"{self.name}/set_parameters_atomically",
            SetParametersAtomically.Request(parameters=named),
        )
        return bool(answer.result.successful), str(answer.result.reason)

    def newest(self, message_type: Any, topic: str, count: int, act: Callable[[], Any] | None = None) -> list[Any]:
        """`count` messages of a latched topic, subscribed to now; `act` runs after the first."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        heard: list[Any] = []
        qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscription = self.node.create_subscription(message_type, topic, heard.append, qos)
        try:
            self.until(lambda: len(heard) >= 1, f"a message on {topic}")
            if act is not None:
                act()
            self.until(lambda: len(heard) >= count, f"message {count} on {topic}")
        finally:
            self.node.destroy_subscription(subscription)
        return heard


_namespaces = itertools.count()


@pytest.fixture
def client(ros: None) -> Iterator[Client]:
    """A client in a namespace that no other test uses."""
    made = Client(f"/test_{next(_namespaces)}")
    yield made
    made.close()


@contextmanager
def started(client: Client, node_type: Any, **defaults: Any) -> Iterator[Callable[..., Any]]:
    """Starts nodes in the client's namespace, in this process, in a thread of its own each; all over DDS.

    Keyword arguments are parameters (dots as two underscores), which go before the `defaults`.
    Active and connected on return, where autostart is not turned off.
    """
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    running = []

    def start(**values: Any) -> Any:
        values = {**defaults, **values}
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        node = node_type(namespace=client.namespace, parameter_overrides=overrides)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.autostart:
            node.start()
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        running.append((node, executor, thread))
        if values.get("autostart", True):
            client.connected()
        return node

    yield start
    for node, executor, thread in running:
        executor.shutdown(timeout_sec=5)
        thread.join(timeout=5)
        node.close()


@pytest.fixture
def start_detector(client: Client, tiny_model: Path) -> Iterator[Callable[..., Any]]:
    """See started."""
    from cgdet_ros.node.detector_node import DetectorNode

    with started(client, DetectorNode, model=str(tiny_model)) as start:
        yield start


@pytest.fixture
def face_client(ros: None) -> Iterator[Client]:
    """A client of the node of landmarks."""
    made = Client(
        f"/test_{next(_namespaces)}",
        "thermal_landmarks",
        (pytest.importorskip("hri_msgs.msg").FacialLandmarks, "landmarks"),
    )
    yield made
    made.close()


@pytest.fixture
def start_landmarks(face_client: Client, disc_model: Path) -> Iterator[Callable[..., Any]]:
    """See started."""
    from cgdet_ros.node.landmarks_node import LandmarksNode

    with started(face_client, LandmarksNode, model=str(disc_model), precision="fp32") as start:
        yield start


_stamps = itertools.count(1)


@pytest.fixture
def image_message() -> Callable[..., Any]:
    """Makes sensor_msgs/Image messages: pixels [H, W] or [H, W, 3] -> message, each with a new stamp."""
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    def make(
        pixels: Any,
        encoding: str,
        *,
        big_endian: bool = False,
        padding_bytes: int = 0,
        frame_id: str = "thermal_optical",
    ) -> Any:
        pixels = np.asarray(pixels)
        stored = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
        rows = stored.reshape(len(stored), -1).view(np.uint8)
        padded = np.concatenate([rows, np.full((len(rows), padding_bytes), 0xAB, np.uint8)], axis=1)
        number = next(_stamps)
        message = Image(header=Header(stamp=Time(sec=1_700_000_000 + number, nanosec=123_456_789), frame_id=frame_id))
        message.height, message.width = int(pixels.shape[0]), int(pixels.shape[1])
        message.encoding, message.is_bigendian, message.step = encoding, int(big_endian), int(padded.shape[1])
        message.data = array.array("B", padded.tobytes())
        return message

    return make


@pytest.fixture
def scene() -> Any:
    """uint16 [64, 96], raw counts: a warm blob before a cool, noisy background."""
    generator = np.random.default_rng(11)
    counts = generator.normal(21000, 20, SIZE)
    counts[20:50, 40:56] += 900
    return counts.astype(np.uint16)
