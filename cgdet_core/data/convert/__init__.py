"""Sets of the field, as they are published, into COCO JSON; and a bag as such a set."""

from cgdet_core.data.convert.boxes import BOXES
from cgdet_core.data.convert.faces import FACES

SETS = {**BOXES, **FACES}
