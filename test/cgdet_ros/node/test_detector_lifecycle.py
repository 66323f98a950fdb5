"""The node's lifecycle over real DDS: managers, errors, ends, a GPU that fails, and many lives."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

SOON = {"diagnostics__period_s": 0.1}


def test_a_manager_that_brings_up_what_started_by_itself_succeeds_and_may_go_on_from_there(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector()
    assert client.transition("configure")
    assert client.state() == "active"
    assert client.transition("activate")
    assert not client.transition("cleanup")
    client.ask(image_message(scene, "mono16"))
    assert client.transition("deactivate")
    assert client.transition("configure")
    assert client.state() == "inactive"
    assert client.transition("activate")
    client.connected()
    client.ask(image_message(scene, "mono16"))


def test_every_transition_works_by_service_what_is_not_possible_is_refused_and_images_are_for_an_active_node(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    start_detector(autostart=False)
    publishers = f"{client.namespace}/detections"
    assert not client.transition("activate")
    for _ in range(2):
        assert client.state() == "unconfigured"
        client.until(lambda: client.node.count_publishers(publishers) == 0, "the end of the publisher")
        assert client.transition("configure")
        assert client.state() == "inactive"
        client.until(lambda: client.images.get_subscription_count() == 0, "the end of the subscription")
        assert client.transition("activate")
        client.connected()
        for wrong in ("activate", "configure", "cleanup"):
            assert not client.transition(wrong)
        assert client.state() == "active"
        client.ask(image_message(scene, "mono16"))
        assert client.transition("deactivate")
        assert client.transition("cleanup")


def test_what_cannot_be_loaded_fails_configure_with_its_reason_and_a_good_one_is_taken_afterwards(
    start_detector: Any, client: Any, tiny_model: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_model.read_bytes()[:-10000])
    good = {"model": str(tiny_model), "device": "cpu", "class_thresholds": ["person:0.2"], "cpu_fallback": True}
    node = start_detector(autostart=False, **good)
    for wrong, named in (
        ({"model": "/none.safetensors"}, "none.safetensors"),
        ({"model": "/none.safetensors", "device": "cuda:77"}, "none.safetensors"),  # it is not the GPU's fault
        ({"model": str(cut)}, "cut.onnx"),
        ({"device": "cuda:77", "cpu_fallback": False}, ""),  # what is missing depends on the machine
        ({"device": "tpu"}, "'tpu'"),
        ({"class_thresholds": ["unicorn:0.5"]}, "'unicorn'"),
    ):
        node._log.error("")
        assert client.set_parameters(**{**good, **wrong}) == (True, "")
        assert not client.transition("configure")
        assert node._log.last_error
        assert named in node._log.last_error
        assert client.state() == "unconfigured"
    assert client.set_parameters(**good) == (True, "")
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()


def test_an_error_in_a_transition_is_told_and_the_node_can_be_brought_up_again(
    start_detector: Any, client: Any, image_message: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start_detector(autostart=False, **SOON)
    assert client.transition("configure")
    listen = node._listen

    def fail() -> None:
        raise RuntimeError("the middleware\nhas no more room")

    monkeypatch.setattr(node, "_listen", fail)
    assert not client.transition("activate")
    assert client.state() == "unconfigured"
    assert node._log.last_error == "RuntimeError: the middleware has no more room"
    client.report(lambda level, message, values: (level, message) == (2, node._log.last_error), "the error")
    assert node._pipeline is None
    assert client.node.count_publishers(f"{client.namespace}/detections") == 0
    monkeypatch.setattr(node, "_listen", listen)
    assert client.transition("configure")
    assert client.transition("activate")
    client.connected()
    client.ask(image_message(scene, "mono16"))


@pytest.mark.parametrize("state", ["unconfigured", "inactive", "active"])
def test_a_shutdown_from_every_state_frees_everything(state: str, start_detector: Any, client: Any) -> None:
    node = start_detector(autostart=False)
    for transition in {"unconfigured": (), "inactive": ("configure",), "active": ("configure", "activate")}[state]:
        assert client.transition(transition)
    assert client.transition(f"{state}_shutdown")
    assert client.state() == "finalized"
    assert node._pipeline is None
    client.until(lambda: client.node.count_publishers(f"{client.namespace}/detections") == 0, "the end of publishers")
    assert client.images.get_subscription_count() == 0
    assert not any(thread.name.startswith("detector") for thread in threading.enumerate())


def test_an_override_of_quality_of_service_that_is_none_fails_with_its_reason(start_detector: Any, client: Any) -> None:
    topic = f"{client.namespace}/detections"
    node = start_detector(**{f"qos_overrides.{topic}.publisher.reliability": "perfect"}, autostart=False)
    assert not client.transition("configure")
    assert client.state() == "unconfigured"
    assert "perfect" in node._log.last_error


def test_a_frame_in_work_is_answered_before_deactivate_returns_and_none_after_it(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector()
    predict = node._pipeline.inference.predictor.predict
    entered, go_on = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:  # the real predictor, made to wait
        entered.set()
        assert go_on.wait(20)
        return predict(*arguments)

    node._pipeline.inference.predictor.predict = held
    first, waiting = image_message(scene, "mono16"), image_message(scene, "mono16")
    client.send(first)
    assert entered.wait(20)
    client.send(waiting)
    client.until(lambda: node._pipeline.worker._waiting is not None, "a frame in the mailbox")
    threading.Timer(0.1, go_on.set).start()
    assert client.transition("deactivate")
    assert client.transition("activate")
    client.connected()
    last = client.ask(image_message(scene, "mono16"))
    assert [answer.header.stamp for answer in client.answers] == [first.header.stamp, last.header.stamp]
    counts = client.counts_of(node)
    assert (counts.received, counts.answered, counts.overtaken) == (3, 2, 1)


def test_a_gpu_that_cannot_be_had_is_replaced_by_the_cpu_with_a_warning_that_stays(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(device="cuda:77", precision="fp16", **SOON)
    client.ask(image_message(scene, "mono16"))
    level, message, values = client.report(lambda level, message, values: values["answered"] == "1", "an answer")
    assert level == 1
    assert message.startswith("the GPU failed, the CPU is in its place: ")
    assert (values["device"], values["precision"]) == ("cpu", node._pipeline.inference.predictor.precision)
    assert values["fallback"] == node._pipeline.fallback
    assert node._config.device == "cuda:77"


def gpu_that_fails(node: Any) -> None:
    """No GPU is at hand: the predictor says that it runs on one and raises what torch raises there."""
    predictor = node._pipeline.inference.predictor
    predictor.device = "cuda:0"

    def fail(*arguments: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    predictor.predict = fail


def test_a_gpu_that_fails_while_it_runs_costs_its_frame_and_the_next_is_answered_by_the_cpu(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(score_threshold=0.0001, **SOON)
    expected = client.ask(image_message(scene, "mono16")).detections
    assert client.set_parameters(max_detections=3) == (True, "")
    gpu_that_fails(node)
    lost = image_message(scene, "mono16")
    client.send(lost)
    client.until(lambda: node._log.counts.failed == 1, "the failure")
    answer = client.ask(image_message(scene, "mono16"))
    assert len(answer.detections) == 3
    for found, before in zip(answer.detections, expected, strict=False):
        assert (found.bbox, found.results) == (before.bbox, before.results)
    assert all(message.header.stamp != lost.header.stamp for message in client.answers)
    level, message, values = client.report(lambda level, message, values: values["failed"] == "1", "the failure")
    assert level >= 1
    assert "the GPU failed, the CPU is in its place: RuntimeError: CUDA error: an illegal" in message
    assert values["device"] == "cpu"
    for transition in ("deactivate", "cleanup", "configure"):
        assert client.transition(transition)
    assert node._pipeline.fallback == ""


def test_without_the_parameter_a_gpu_that_fails_is_an_error_and_the_node_lives(
    start_detector: Any, client: Any, image_message: Any, scene: Any
) -> None:
    node = start_detector(cpu_fallback=False, **SOON)
    gpu_that_fails(node)
    for number in range(1, 3):
        client.send(image_message(scene, "mono16"))
        client.until(lambda number=number: node._log.counts.failed == number, "the failure")
    level, message, _ = client.report(lambda level, message, values: values["failed"] == "2", "the failures")
    assert level == 2
    assert "illegal memory access" in message
    assert node._pipeline.fallback == ""
    assert client.state() == "active"


def test_lives_leave_nothing_behind(start_detector: Any, client: Any, image_message: Any, scene: Any) -> None:
    node = start_detector(autostart=False)

    def live() -> tuple[int, ...]:
        for transition in ("configure", "activate"):
            assert client.transition(transition)
        client.connected()
        client.ask(image_message(scene, "mono16"))
        predictor = weakref.ref(node._pipeline.inference.predictor)
        for transition in ("deactivate", "cleanup"):
            assert client.transition(transition)
        assert predictor() is None, "its device memory is not free"
        gc.collect()
        waitables = sum(1 for _ in node.waitables)
        entities = sum(1 for _ in node.publishers) + sum(1 for _ in node.subscriptions)
        return len(os.listdir("/proc/self/fd")), threading.active_count(), entities, waitables

    live()
    first = live()
    assert live() == first
