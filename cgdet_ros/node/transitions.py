"""What rclpy's lifecycle leaves to be said and to be tolerated."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import Transition
from rclpy.lifecycle import TransitionCallbackReturn

# a manager that brings up a node which has done so by itself gets what it wants
_REACHED = {"configure": ("inactive", "active"), "activate": ("active",)}
_NAMES = {Transition.TRANSITION_CONFIGURE: "configure", Transition.TRANSITION_ACTIVATE: "activate"}


def told(callback: Callable[..., Any]) -> Callable[..., Any]:
    """A transition's callback whose error is handed to the node's `on_transition_error` before it becomes ERROR."""

    @functools.wraps(callback)
    def calling(node: Any, state: Any) -> Any:
        try:
            return callback(node, state)
        except Exception as error:
            node.on_transition_error(callback.__name__.removeprefix("on_"), error)
            return TransitionCallbackReturn.ERROR

    return calling


def forget_the_dead(group: Any) -> None:
    """Let a callback group forget what was destroyed: rclpy keeps a reference to each for as long as the node lives."""
    entities = getattr(group, "entities", None)
    if isinstance(entities, set):
        dead = {entity for entity in entities if isinstance(entity, weakref.ref) and entity() is None}
        entities.difference_update(dead)


def guard_transitions(node: Any) -> None:
    """Answer requests that are not possible in the node's state in place of ending the node, as rclpy would.

    Where the node starts by itself (`autostart`), a request for what that has reached is a success: a
    lifecycle manager does not know who was first.
    """
    service = node._service_change_state
    change_state: Callable[[Any, Any], Any] = service.callback

    def guarded(request: Any, response: Any) -> Any:
        wanted = request.transition.label or _NAMES.get(request.transition.id, f"number {request.transition.id}")
        state = node.state
        if node.autostart and state in _REACHED.get(wanted, ()):
            node.get_logger().info(f"transition {wanted}: nothing to do, the node started by itself and is {state}")
            response.success = True
            return response
        try:
            return change_state(request, response)
        except Exception as error:
            node.get_logger().warning(
                f"transition {wanted} is not possible in state '{state}': {' '.join(str(error).split())}"
            )
            response.success = False
            return response

    service.callback = guarded
