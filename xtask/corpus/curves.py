"""Smooth curves at the frame rate."""

import math

import numpy as np

RATE_HZ = 16000
FRAME_SECONDS = 0.005  # of WORLD


def slow_noise(count, hz, rng):
    """Noise of about unit variance below `hz`: random points joined by smooth steps."""
    points = max(2, int(math.ceil(count * FRAME_SECONDS * hz)) + 2)
    values = rng.normal(size=points + 2)
    place = np.linspace(1, points, count)
    below = place.astype(int)
    share = place - below
    share = share * share * (3 - 2 * share)
    return values[np.minimum(below, points)] * (1 - share) + values[np.minimum(below + 1, points + 1)] * share


def glide(targets, seconds):
    """Steps become glides: two first-order filters in a row, as a voice moves between notes."""
    keep = math.exp(-FRAME_SECONDS / seconds)
    out, first, second = np.empty_like(targets), targets[0], targets[0]
    for i, target in enumerate(targets):
        first = keep * first + (1 - keep) * target
        second = keep * second + (1 - keep) * first
        out[i] = second
    return out
