# SPDX-License-Identifier: Apache-2.0
"""AES in counter mode, in pure Python (FunctionBench's pyaes): encrypts a message, decrypts it again and compares.

Event: {"message": hexadecimal, or "length": bytes of a generated one; "key", "counter": hexadecimal, 16/24/32 and 16 bytes}.
Result: {"length", "digest": SHA-256 of the ciphertext, "round_trip"}, and "ciphertext" in hexadecimal if the event gave the message.
"""

import hashlib

import pyaes

DEFAULT_LENGTH = 8192
MAX_LENGTH = 4 << 20
# The key and first counter of NIST SP 800-38A, F.5.1.
DEFAULT_KEY = "2b7e151628aed2a6abf7158809cf4f3c"
DEFAULT_COUNTER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"


def crypt(key, counter, data):
    """Encrypt or decrypt (the same in counter mode) with a fresh key stream."""
    return pyaes.AESModeOfOperationCTR(key, counter=pyaes.Counter(int.from_bytes(counter, "big"))).encrypt(data)


def handler(event, context):
    key = bytes.fromhex(event.get("key", DEFAULT_KEY))
    counter = bytes.fromhex(event.get("counter", DEFAULT_COUNTER))
    if len(counter) != 16:
        raise ValueError(f"counter: {len(counter)} bytes, wants 16")
    given = "message" in event
    length = len(event["message"]) // 2 if given else int(event.get("length", DEFAULT_LENGTH))
    if not 0 <= length <= MAX_LENGTH:
        raise ValueError(f"length: {length} is not in 0..{MAX_LENGTH}")
    message = bytes.fromhex(event["message"]) if given else bytes(i * 7 % 251 for i in range(length))
    ciphertext = crypt(key, counter, message)
    result = {
        "length": len(message),
        "digest": hashlib.sha256(ciphertext).hexdigest(),
        "round_trip": crypt(key, counter, ciphertext) == message,
    }
    if given:
        result["ciphertext"] = ciphertext.hex()
    return result
