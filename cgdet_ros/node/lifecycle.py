"""What rclpy leaves to a node of this package: transitions that tell what failed, and a process that ends in order."""

from __future__ import annotations

import argparse
import functools
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.utilities import remove_ros_args

from cgdet_core.errors import InputError
from cgdet_ros.node.frame_log import one_line

_NAMES = {Transition.TRANSITION_CONFIGURE: "configure", Transition.TRANSITION_ACTIVATE: "activate"}
# a manager that brings up a node which has done so by itself gets what it wants
_REACHED = {"configure": ("inactive", "active"), "activate": ("active",)}


def told(callback: Callable[..., TransitionCallbackReturn]) -> Callable[..., TransitionCallbackReturn]:
    """Of a transition's callback: what it raises is told, where rclpy would forget it."""

    @functools.wraps(callback)
    def calling(node: GuardedNode, state: Any) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.on_transition_error(callback.__name__.removeprefix("on_"), error)
            return TransitionCallbackReturn.ERROR

    return calling


class GuardedNode(LifecycleNode):  # type: ignore[misc]
    """A lifecycle node that lives on where a transition is asked for that is not possible.

    autostart: whether it is to drive itself to active; arguments: of the process, where it is the node's. It brings
    `close`, for the end of the process, and `on_transition_error`, which hears what a callback has raised.
    """

    autostart = True
    arguments: Sequence[str] = ()
    close: Callable[[], None]
    on_transition_error: Callable[[str, Exception], None]

    def __init__(self, name: str, **node_arguments: Any) -> None:
        super().__init__(name, **node_arguments)
        # rclpy would end the node at a request that is not possible in its state
        service = next(each for each in self.services if each.srv_type is ChangeState)
        service.callback = functools.partial(self._change_state, service.callback)

    @property
    def state(self) -> str:
        """Of the lifecycle."""
        return str(self._state_machine.current_state[1])  # there is no public way

    def _change_state(self, change_state: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        wanted = request.transition.label or _NAMES.get(request.transition.id, f"number {request.transition.id}")
        if self.autostart and self.state in _REACHED.get(wanted, ()):
            self.get_logger().info(
                f"transition {wanted}: nothing to do, the node started by itself and is {self.state}"
            )
            response.success = True
            return response
        try:
            return change_state(request, response)
        except Exception as error:
            line = " ".join(str(error).split())
            self.get_logger().warning(f"transition {wanted} is not possible in state '{self.state}': {line}")
            response.success = False
            return response

    def start(self) -> None:
        """Configure and activate; a reason why it does not get there is in the log."""
        configured = self.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if not self.context.ok():
            return
        if configured:
            self.trigger_activate()
            return
        name = self.get_fully_qualified_name()
        self.get_logger().error(
            f"not active: correct the parameter (`ros2 param set {name} ...`), then `ros2 lifecycle set {name} "
            f"configure` and `... activate`; or start the node again"
        )

    def destroy_node(self) -> None:
        """In addition to rclpy's, whose state machine holds the node: others would see it while the process lives."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()  # there is no public way


def run(
    node_type: Callable[[], GuardedNode], kind: str, what: str, examples: Sequence[str], arguments: list[str] | None
) -> int:
    """The executable cgdet-`kind`: 0 after a shutdown that was asked for, 2 where the arguments are none.

    what: the node's topics, for its help; examples: what may follow --ros-args.
    """
    lines = "".join(f"  cgdet-{kind} --ros-args {example}\n" for example in examples)
    parser = argparse.ArgumentParser(
        prog=f"cgdet-{kind}",
        description=f"The node thermal_{kind}: {what}. It takes ROS arguments only.",
        epilog=f"examples:\n{lines}\n"
        f"Every parameter, with its default and its range, is described in config/{kind}.yaml.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    node = None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _on_ctrl_c)  # rclpy's own handler calls the one that it finds
    try:
        try:
            # what follows --ros-args is ROS's, which raises RuntimeError
            parser.parse_args(remove_ros_args(sys.argv)[1:] if arguments is None else remove_ros_args(arguments))
            warning = init_ros(arguments)
            node = node_type()
            node.arguments = sys.argv if arguments is None else arguments
            if warning:
                node.get_logger().warning(warning)
        except (InputError, ParameterException, RuntimeError) as error:
            print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.autostart:
            node.start()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # rcl's answer to whatever was under way when the context was shut down
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


def _on_ctrl_c(number: int, _: Any) -> None:
    """Once: for a Ctrl-C `ros2 launch` sends a second SIGINT, which would interrupt what the first began."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def init_ros(arguments: list[str] | None, **options: Any) -> str:
    """rclpy.init with `arguments` (None: the process'), without a log file where none can be written: a vehicle's home
    may be read-only, and the log goes to the console and to /rosout all the same. A warning of it, or nothing."""
    try:
        rclpy.init(args=arguments, **options)
    except RuntimeError as error:
        given = sys.argv if arguments is None else arguments
        rclpy.try_shutdown()  # what is no matter of the log fails again
        rclpy.init(args=[*given, "--ros-args", "--disable-external-lib-logs"], **options)
        return f"no log file: {one_line(error)}: name another folder by ROS_LOG_DIR"
    return ""
