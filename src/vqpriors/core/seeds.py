"""Seeds that depend on what they are for, not on what was drawn before."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Mix integers and names into a seed of 63 bits, the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
