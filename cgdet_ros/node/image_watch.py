"""What the log says of images that come, do not come, stop and come again: once each, and again for another reason.

/diagnostics says so all the time; whoever has just started the node looks at its terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cgdet_ros.node.diagnostics import Situation, publishers_in_words

_NAMED_TOPICS = 5


class ImageWatch:
    """To be asked now and then, as often as there are reports."""

    def __init__(self) -> None:
        self._coming = False
        self._missed = ""  # the reasons that were told last

    def look(
        self,
        situation: Situation,
        without_image_s: float | None,
        image_kind: str,
        timeout_s: float,
        elsewhere: Callable[[], Sequence[str]],
    ) -> tuple[bool, str] | None:
        """Whether it is a warning, and a line, where there is something new to say.

        without_image_s: since the last image, None where there never was one; image_kind: of the last that was
        answered; timeout_s: so long without one is worth a line, 0: never; elsewhere: topics on which others publish
        images, asked for only where nobody publishes on this one.
        """
        if situation.state != "active" or not situation.enabled:
            self._coming, self._missed = False, ""
            return None
        topic = situation.image_topic
        none_yet = without_image_s is None or without_image_s > situation.active_s
        waited_s = situation.active_s if none_yet else without_image_s or 0.0
        if waited_s > timeout_s > 0:
            since = f"no image yet on {topic}" if none_yet else f"no image on {topic} for {waited_s:.0f} s"
            reasons = [f"({publishers_in_words(situation.image_publishers)})", *situation.unheard]
            if not situation.image_publishers and (others := elsewhere()):
                more = ", ..." if len(others) > _NAMED_TOPICS else ""
                reasons.append(f"images are published on {', '.join(others[:_NAMED_TOPICS])}{more}")
            missed = "; ".join(reasons)
            if missed == self._missed:
                return None
            self._coming, self._missed = False, missed
            return True, f"{since} {missed}"
        if none_yet or not image_kind or self._coming:
            return None
        again = " again" if self._missed else ""
        self._coming, self._missed = True, ""
        return False, f"images on {topic}{again}: {image_kind}"
