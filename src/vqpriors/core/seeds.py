"""Random seeds derived by hashing their purpose, independent of earlier draws."""

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Hash integers and names to a seed of 63 bits, the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
