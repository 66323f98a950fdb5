"""Sets of the field, as they are published, into COCO JSON; and a bag as such a set."""

from cgdet_core.data.convert.faces import FACES
from cgdet_core.data.convert.flir import FLIR_V1, FLIR_V2
from cgdet_core.data.convert.kaist import KAIST
from cgdet_core.data.convert.voc import LLVIP, M3FD

SETS = {"flir-v1": FLIR_V1, "flir-v2": FLIR_V2, "llvip": LLVIP, "kaist": KAIST, "m3fd": M3FD, **FACES}
