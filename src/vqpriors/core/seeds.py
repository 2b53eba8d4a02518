"""Random seeds derived by hashing their purpose; no seed depends on the numbers drawn before."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Hash integers and names to a seed below 2^63, the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
