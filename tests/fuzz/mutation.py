"""Bytes that differ a little from those of a sound file."""

TOKENS = (
    *(b"", b"\x00", b"\n", b"\r\n", b",", b";", b"\t", b'"', b"'", b"\\", b"-", b"-1", b"0", b"1e999", b"-1e999"),
    *(
        b"NaN",
        b"inf",
        b"9" * 30,
        b"0x7f",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x80",
        b"\xff\xff\xff\x7f",
        b"\xef\xbb\xbf",
    ),
    *(
        b"<script>",
        b"$(id)",
        b"../../x",
        b"/etc/passwd",
        b"%s%n",
        b"{}",
        b"[]",
        b"null",
        b"\xf0\x9f\x98\x80",
        b"#",
        b"=",
    ),
)


def mutate(content, rng, other=b""):
    """A copy with one to four changes, drawn from the generator; `other` is a sound file to take pieces from."""
    found = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(found) + 1))
        size = int(2 ** rng.uniform(0, 7))
        kind = int(rng.integers(9))
        if kind == 0 and found:
            found[at % len(found)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            found[at : at + size] = rng.bytes(min(size, len(found[at : at + size])))
        elif kind == 2:
            del found[at : at + size]
        elif kind == 3:
            found[at:at] = found[at : at + size]
        elif kind == 4:
            del found[at:]
        elif kind == 5:
            token = TOKENS[rng.integers(len(TOKENS))]
            found[at : at + len(token) * int(rng.integers(2))] = token
        elif kind == 6:
            number = int(rng.choice([0, 1, 2**15, 2**31 - 1, 2**32 - 1, 2**62, 2**63]))
            width = int(rng.choice([1, 2, 4, 8]))
            found[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 7:
            found[at : at + size] = bytes(size)
        elif other:
            start = int(rng.integers(len(other)))
            found[at : at + size] = other[start : start + size]
    return bytes(found)
