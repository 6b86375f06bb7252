"""Small images as text that stands in a page."""

import base64
import math
import struct
import zlib

import numpy as np

MAX_SIDE = 32  # of an image in a page
WARM, COOL = (213, 94, 0), (0, 114, 178)  # of more and of less; told apart by colour-blind people too


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns an image (height, width[, channels]) with sides of `MAX_SIDE` at most, by the means of blocks."""
    step = math.ceil(max(image.shape[:2]) / MAX_SIDE)
    if step == 1:
        return image
    height, width = (size // step * step or size for size in image.shape[:2])
    rows = np.add.reduceat(image[:height], np.arange(0, height, step), axis=0)
    blocks = np.add.reduceat(rows[:, :width], np.arange(0, width, step), axis=1)
    return blocks / (min(step, height) * min(step, width))


def as_bytes(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns values from `low` to `high` as uint8; those of one channel as ink on paper, the low ones white."""
    shares = np.clip((image - low) / ((high - low) or 1), 0, 1)
    return np.round(255 * (shares if image.ndim == 3 else 1 - shares)).astype(np.uint8)


def signed(values: np.ndarray) -> np.ndarray:
    """Returns values (height, width) as (height, width, 4) uint8: warm above 0, cool below, the rest transparent."""
    values = np.nan_to_num(values, posinf=0, neginf=0)
    strength = np.abs(values) / (np.abs(values).max() or 1)
    colours = np.where(values[..., None] > 0, WARM, COOL)
    return np.concatenate([colours, np.round(255 * strength)[..., None]], axis=-1).astype(np.uint8)


def data_uri(image: np.ndarray) -> str:
    """Returns an image (height, width) or (height, width, 3 or 4), uint8, as a PNG in a data URI."""
    return "data:image/png;base64," + base64.b64encode(_png(image)).decode()


def _png(image: np.ndarray) -> bytes:
    height, width = image.shape[:2]
    kind = {(): 0, (3,): 2, (4,): 6}[image.shape[2:]]
    lines = np.pad(image.reshape(height, -1), ((0, 0), (1, 0)))  # each begins with its filter: none
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in parts)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
