# SPDX-License-Identifier: Apache-2.0
"""A file of text-like lines, compressed with gzip, decompressed and compared (FunctionBench's gzip_compression).

Initialisation generates $GZIP_KIB KiB of text from $GZIP_SEED. Event: {"kib": how much of it, "level": 1..9}.
Result: {"bytes", "compressed", "digest": SHA-256 of the text, "round_trip"}.
"""

import gzip
import hashlib
import os
import random
import tempfile

KIB = int(os.environ.get("GZIP_KIB", "4096"))
SEED = int(os.environ.get("GZIP_SEED", "1"))
DEFAULT_KIB = 1024


def generate_text(kib, seed):
    """Lines of words drawn from a fixed vocabulary, the frequent ones short, as in natural text. Exactly kib KiB."""
    generator = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = ["".join(generator.choices(letters, range(26, 0, -1), k=2 + rank // 500)) for rank in range(5000)]
    weights = [1 / (rank + 1) for rank in range(len(vocabulary))]
    lines, size = [], 0
    while size < kib * 1024:
        line = " ".join(generator.choices(vocabulary, weights, k=4096))
        lines.append(line)
        size += len(line) + 1
    return "\n".join(lines).encode()[: kib * 1024 - 1] + b"\n"


TEXT = generate_text(KIB, SEED)


def handler(event, context):
    kib = int(event.get("kib", min(DEFAULT_KIB, KIB)))
    level = int(event.get("level", 6))
    if not 1 <= kib <= KIB:
        raise ValueError(f"kib: {kib} is not in 1..{KIB}")
    if not 1 <= level <= 9:
        raise ValueError(f"level: {level} is not in 1..9")
    text = memoryview(TEXT)[: kib * 1024]
    # Through a file, as in FunctionBench. It has no name, so an instance that ends half-way leaves nothing in /tmp.
    with tempfile.TemporaryFile() as file:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=file, mtime=0) as archive:
            archive.write(text)
        compressed = file.tell()
        file.seek(0)
        with gzip.GzipFile(mode="rb", fileobj=file) as archive:
            round_trip = archive.read() == text
    return {"bytes": len(text), "compressed": compressed, "digest": hashlib.sha256(text).hexdigest(), "round_trip": round_trip}
