"""The melody of a conversion against its take's, by swift-f0."""

from functools import cache

import numpy as np
import sound
from swift_f0 import SwiftF0

CONFIDENT = 0.5


@cache
def detector():
    return SwiftF0()


def contour(samples):
    """F0 in cents above 1 Hz every 10 ms, and where there is one."""
    times = np.arange(len(samples) // sound.HOP_SAMPLES + 1) * 0.01
    found = detector().detect(samples.astype(np.float32), sound.RATE_HZ)
    at = np.asarray(found.timestamps)
    cents = np.interp(times, at, 1200 * np.log2(np.maximum(found.pitch_hz, 1)))
    nearest = np.clip(np.round(np.interp(times, at, np.arange(len(at)))).astype(int), 0, len(at) - 1)
    return cents, np.asarray(found.confidence)[nearest] >= CONFIDENT


def compared(before, after):
    (asked, asked_voiced), (sung, sung_voiced) = contour(before), contour(after)
    length = min(len(asked), len(sung))
    asked, asked_voiced, sung, sung_voiced = (a[:length] for a in (asked, asked_voiced, sung, sung_voiced))
    both = asked_voiced & sung_voiced
    result = {"voicing_error": float(np.mean(asked_voiced != sung_voiced))}
    if both.sum() >= 10:
        distance = sung[both] - asked[both]
        # The transposition is the median distance; what is left is error.
        result["f0_error_cents"] = float(np.sqrt(np.mean((distance - np.median(distance)) ** 2)))
        result["f0_correlation"] = float(np.corrcoef(asked[both], sung[both])[0, 1])
    return result
