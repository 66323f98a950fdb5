"""The node under requests in any order while images keep coming: each is done or refused, no image is lost count of."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from std_srvs.srv import SetBool

TO = {  # the state that a transition leads to, from the states in which it is possible
    "configure": ({"unconfigured"}, "inactive"),
    "activate": ({"inactive"}, "active"),
    "deactivate": ({"active"}, "inactive"),
    "cleanup": ({"inactive"}, "unconfigured"),
}


@pytest.mark.parametrize("seed", [1, 2])
def test_requests_in_any_order_are_done_or_refused_and_every_image_is_accounted_for(
    seed: int, start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(autostart=False, diagnostics__period_s=0.05)
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.005):
            client.send(image_message(scene, "mono16"))

    sender = threading.Thread(target=send)
    sender.start()
    choose = random.Random(seed)
    state, enabled = "unconfigured", True

    def transition() -> None:
        nonlocal state
        name = choose.choice(list(TO))
        possible, then = TO[name]
        assert client.transition(name) == (state in possible)
        state = then if state in possible else state

    def enable() -> None:
        nonlocal enabled
        enabled = choose.random() < 0.6
        answer = client.call(SetBool, f"{client.namespace}/thermal_detector/enable", SetBool.Request(data=enabled))
        assert answer.success

    def live() -> None:
        values = {"score_threshold": choose.random(), "max_detections": choose.randrange(1, 50)}
        assert client.set_parameters(**values) == (True, "")
        assert node._config.max_detections == values["max_detections"]

    def fixed() -> None:
        rows = choose.randrange(4)
        changed, _ = client.set_parameters(telemetry_rows=rows)
        assert changed == (state == "unconfigured" or rows == node._config.telemetry_rows)

    requests: list[Callable[[], None]] = [transition, transition, transition, enable, live, fixed]
    try:
        for _ in range(60):
            choose.choice(requests)()
            assert node.state == state
            subscribed = node._input is not None
            assert subscribed == (state == "active" and enabled)
    finally:
        ended.set()
        sender.join()
    for name in ("deactivate", "configure", "activate"):  # whatever of it is possible
        client.transition(name)
    client.call(SetBool, f"{client.namespace}/thermal_detector/enable", SetBool.Request(data=True))
    assert client.state() == "active"
    client.connected()
    assert client.set_parameters(score_threshold=0.0, max_detections=5) == (True, "")
    assert len(client.ask(image_message(scene, "mono16")).detections) == 5
    counts = client.counts_of(node)
    stamps = [answer.header.stamp.sec for answer in client.answers]
    assert stamps == sorted(set(stamps)), "answered twice, or not in order"
    assert counts.received == counts.answered + counts.overtaken
    assert counts.refused == counts.failed == 0
    assert node._log.last_error == ""
