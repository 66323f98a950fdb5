"""Crops of frames with another camera's look, and batches of them: number n of a seed is always the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cgdet_core.config import LookConfig, Recipe
from cgdet_core.data.augment.sensor import vary_camera
from cgdet_core.data.feed.sources import Source
from cgdet_core.data.sets.rgb_partner import RgbArray, RgbPartner
from cgdet_core.tasks import task_of
