# SPDX-License-Identifier: Apache-2.0
"""A nested document read and written as JSON (FunctionBench's json_dumps_loads).

Initialisation generates the text of $JSON_RECORDS orders from $JSON_SEED. Event: {"document": any value, instead of it}.
Result: {"bytes", "values", "total", "digest"}: the length of the text written, how many scalars the document holds, the sum of its numbers,
and the SHA-256 of the text with sorted keys.
"""

import hashlib
import json
import os
import random

RECORDS = int(os.environ.get("JSON_RECORDS", "1500"))
SEED = int(os.environ.get("JSON_SEED", "1"))


def generate_document(records, seed):
    """Orders with customers and items: the shape of what a web shop's function is handed."""
    generator = random.Random(seed)
    return {
        "orders": [
            {
                "id": index,
                "customer": {"name": f"Łucja {generator.randrange(10**6)}", "tags": ["new", "é"], "vip": generator.random() < 0.1},
                "items": [{"sku": generator.randrange(10**9), "quantity": generator.randint(1, 9), "note": None} for _ in range(4)],
                "paid": generator.randrange(10**6) / 4,
            }
            for index in range(records)
        ]
    }


TEXT = json.dumps(generate_document(RECORDS, SEED), ensure_ascii=False)


def measure(document):
    """Walk a document; return how many scalars it holds and the sum of its numbers."""
    values, total, stack = 0, 0, [document]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        else:
            values += 1
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                total += value
    return values, total


def handler(event, context):
    document = event["document"] if "document" in event else json.loads(TEXT)
    values, total = measure(document)
    text = json.dumps(document, ensure_ascii=False, sort_keys=True).encode()
    return {"bytes": len(text), "values": values, "total": total, "digest": hashlib.sha256(text).hexdigest()}
