#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark functions: results against computations of another kind, and each once as its manifest starts it.

Give the name of one case: functions are modules of the same name, so that each wants a process of its own.
"""

import array
import collections
import functools
import gzip
import hashlib
import html.parser
import http.client
import io
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
import unittest

from runtime_api import FUNCTIONS, PYTHON, RUNTIME, WAIT_S, RuntimeApiServer

sys.path.insert(0, os.path.dirname(RUNTIME))
from hearth_runtime import load_handler  # noqa: E402

sys.path.pop(0)

NAMES = (
    "bert chameleon float_operation graph_bfs gzip_compression html_server image_processing json_dumps_loads linpack matmul pyaes".split()
)


def read_manifest(name):
    """The keys of a function.yaml that is as flat as ours are (a YAML library is not among what the functions need)."""
    manifest, group = {}, None
    with open(os.path.join(FUNCTIONS, name, "function.yaml"), encoding="utf-8") as file:
        for line in filter(lambda line: line.strip() and not line.lstrip().startswith("#"), file):
            key, _, value = line.strip().partition(":")
            value = value.strip()
            target = manifest if line[0] != " " else manifest[group]
            if not value:
                group, value = key, {}
            elif value.startswith("["):
                value = [item.strip() for item in value[1:-1].split(",")]
            elif value.startswith('"'):
                value = json.loads(value)
            assert key not in target, f"{name}: {key} twice"
            target[key] = value
    return manifest


def directory_of(name, manifest):
    return os.path.realpath(os.path.join(FUNCTIONS, name, manifest["directory"]))


class FunctionCase(unittest.TestCase):
    """Base of the functions under the Lambda contract."""

    name = None
    needs = ()
    # A smaller model, say, where the real one would say nothing more.
    env = {}

    @classmethod
    def setUpClass(cls):
        for module in cls.needs:
            try:
                __import__(module)
            except ImportError as error:
                print(f"skipped: {error}")
                sys.exit(77)
        manifest = read_manifest(cls.name)
        os.environ.update({**manifest.get("env", {}), **cls.env})
        handler = load_handler(f"{cls.name}/function.handler", FUNCTIONS)
        cls.handler = staticmethod(handler)
        cls.module = sys.modules["function"]

    def call(self, **event):
        """The result, after the way through JSON that a caller's takes."""
        return json.loads(json.dumps(self.handler(event, None), allow_nan=False))

    def check_refused(self, **event):
        with self.assertRaises(ValueError) as caught:
            self.call(**event)
        self.assertTrue(any(str(caught.exception).startswith(key) for key in event), caught.exception)

    def test_same_through_the_manifest(self):
        """Another process, started as deployed, gives the same result; and so does the second invocation of each."""
        manifest = read_manifest(self.name)
        here = [self.call(), self.call()]
        self.assertEqual(here[0], here[1])
        with RuntimeApiServer() as api:
            api.start(manifest["command"], directory_of(self.name, manifest), {**manifest.get("env", {}), **self.env})
            for _ in range(2):
                api.put({})
                post = api.take()
                self.assertEqual(post.path, "invocation/id-1/response", post.body[:2000])
                self.assertEqual(post.json(), here[0])
            # A library's idle worker threads would be part of every checkpoint.
            self.assertEqual(len(os.listdir(f"/proc/{api.children[0].pid}/task")), 1)


class FloatOperation(FunctionCase):
    name = "float_operation"

    def test_sums(self):
        n = 20_000
        result = self.call(n=n)
        # Closed forms: the sums of sin k and cos k as a geometric series, that of the roots by Euler and Maclaurin.
        m = n - 1
        self.assertAlmostEqual(result["sin"], math.sin(m / 2) * math.sin((m + 1) / 2) / math.sin(0.5), places=8)
        self.assertAlmostEqual(result["cos"], math.cos(m / 2) * math.sin((m + 1) / 2) / math.sin(0.5), places=8)
        roots = 2 / 3 * m**1.5 + m**0.5 / 2 - 0.20788622497735456 + m**-0.5 / 24
        self.assertAlmostEqual(result["sqrt"], roots, delta=1e-5)

    def test_limits(self):
        self.assertEqual(self.call(n=0), {"n": 0, "sin": 0, "cos": 0, "sqrt": 0})
        self.check_refused(n=-1)
        self.check_refused(n=10**9)


class Matmul(FunctionCase):
    name = "matmul"
    needs = ("numpy",)

    def test_product(self):
        import numpy

        n = 23
        draw = numpy.random.default_rng(7)
        a, b = draw.random((n, n)).tolist(), draw.random((n, n)).tolist()
        product = [[math.fsum(a[i][k] * b[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
        result = self.call(n=n, seed=7)
        self.assertAlmostEqual(result["sum"], math.fsum(map(math.fsum, product)), places=9)
        self.assertAlmostEqual(result["trace"], math.fsum(product[i][i] for i in range(n)), places=9)

    def test_default(self):
        result = self.call()
        self.assertEqual(result["n"], 1024)
        self.assertLess(result["error"], 1e-11)
        # Each element is a sum of n products of mean 1/4.
        self.assertAlmostEqual(result["sum"] / 1024**3, 0.25, delta=0.002)
        self.assertNotEqual(self.call(n=8, seed=1)["sum"], self.call(n=8, seed=2)["sum"])
        self.check_refused(n=0)


class Linpack(FunctionCase):
    name = "linpack"
    needs = ("numpy",)

    def test_solution(self):
        import numpy

        n = 20
        draw = numpy.random.default_rng(5)
        rows, right = (draw.random((n, n)) - 0.5).tolist(), (draw.random(n) - 0.5).tolist()
        # Gauss-Jordan elimination with partial pivoting.
        rows = [row + [value] for row, value in zip(rows, right)]
        for column in range(n):
            pivot = max(range(column, n), key=lambda i: abs(rows[i][column]))
            rows[column], rows[pivot] = rows[pivot], rows[column]
            for i in range(n):
                if i != column:
                    factor = rows[i][column] / rows[column][column]
                    rows[i] = [x - factor * y for x, y in zip(rows[i], rows[column])]
        solution = [rows[i][n] / rows[i][i] for i in range(n)]
        result = self.call(n=n, seed=5)
        self.assertAlmostEqual(result["solution_sum"], math.fsum(solution), places=9)
        self.assertLess(result["residual"], 16)

    def test_default(self):
        result = self.call()
        self.assertEqual((result["n"], result["operations"]), (1000, 668_666_666))
        self.assertLess(result["residual"], 16)
        self.check_refused(n=0)


class GraphBfs(FunctionCase):
    name = "graph_bfs"
    needs = ("networkx",)

    def check(self, source):
        """A search by rounds over adjacency lists made anew; the order within is the neighbours'."""
        neighbours = {node: list(self.module.GRAPH.adj[node]) for node in self.module.GRAPH}
        queue, seen, order, depth = collections.deque([source]), {source}, [], {source: 0}
        while queue:
            node = queue.popleft()
            order.append(node)
            for other in neighbours[node]:
                if other not in seen:
                    seen.add(other)
                    depth[other] = depth[node] + 1
                    queue.append(other)
        counts = collections.Counter(depth.values())
        result = self.call(source=source)
        self.assertEqual(result["levels"], [counts[level] for level in range(len(counts))])
        self.assertEqual(result["visited"], len(order))
        self.assertEqual(result["digest"], hashlib.sha256(array.array("I", order).tobytes()).hexdigest())

    def test_search(self):
        self.check(0)
        self.check(19_999)

    def test_graph(self):
        result = self.call()
        self.assertEqual(result["nodes"], 20_000)
        self.assertEqual(result["visited"], 20_000)
        # A star of 6 nodes to begin with, then 5 edges with each node.
        self.assertEqual(result["edges"], 5 + (20_000 - 6) * 5)
        self.assertEqual(sum(result["levels"]), 20_000)
        self.check_refused(source=20_000)


class Chameleon(FunctionCase):
    name = "chameleon"
    needs = ("chameleon",)

    def test_page(self):
        rows, columns = 7, 3
        result = self.call(rows=rows, columns=columns, title="<&>", html=True)
        page = result["html"]
        self.assertEqual(result["digest"], hashlib.sha256(page.encode()).hexdigest())
        self.assertEqual(result["bytes"], len(page.encode()))
        self.assertIn("<title>&lt;&amp;&gt;</title>", page)
        cells = Cells(page)
        self.assertEqual(cells.rows, [[f"c{c}: {r * columns + c}" for c in range(columns)] for r in range(rows)])
        self.assertEqual(cells.classes, [["even", "odd"][r % 2] for r in range(rows)])

    def test_default(self):
        result = self.call()
        self.assertEqual((result["rows"], result["columns"]), (500, 20))
        self.assertNotIn("html", result)
        self.check_refused(rows=-1)
        self.check_refused(rows=1001, columns=1000)


class Pyaes(FunctionCase):
    name = "pyaes"
    needs = ("pyaes",)

    def test_nist_vectors(self):
        """NIST SP 800-38A, F.5.1 (128 bits), F.5.3 (192) and F.5.5 (256)."""
        message = (
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
        )
        vectors = {
            "2b7e151628aed2a6abf7158809cf4f3c": "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
            "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee",
            "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b": "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94"
            "1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050",
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4": "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
        }
        for key, ciphertext in vectors.items():
            result = self.call(message=message, key=key)
            self.assertEqual(result["ciphertext"], ciphertext)
            self.assertEqual(result["digest"], hashlib.sha256(bytes.fromhex(ciphertext)).hexdigest())
            self.assertTrue(result["round_trip"])

    def test_default(self):
        result = self.call()
        self.assertEqual((result["length"], result["round_trip"]), (8192, True))
        self.assertEqual(self.call(length=0)["digest"], hashlib.sha256(b"").hexdigest())
        self.check_refused(length=-1)
        self.check_refused(counter="00")


class GzipCompression(FunctionCase):
    name = "gzip_compression"
    env = {"GZIP_KIB": "1024"}

    def test_against_zlib(self):
        text = self.module.TEXT
        self.assertEqual(len(text), 1 << 20)
        for kib, level in ((1, 9), (64, 1), (1024, 6)):
            result = self.call(kib=kib, level=level)
            part = text[: kib * 1024]
            packed = gzip.compress(part, level, mtime=0)
            self.assertEqual(result, {
                "bytes": kib * 1024,
                "compressed": len(packed),
                "digest": hashlib.sha256(part).hexdigest(),
                "round_trip": True,
            })  # fmt: skip

    def test_text(self):
        # As text packs: neither noise nor repetition.
        result = self.call()
        self.assertTrue(0.3 < result["compressed"] / result["bytes"] < 0.6)
        self.assertNotEqual(self.module.generate_text(1, 1), self.module.generate_text(1, 2))
        self.check_refused(kib=1025)
        self.check_refused(level=0)


class JsonDumpsLoads(FunctionCase):
    name = "json_dumps_loads"

    def test_document_of_the_event(self):
        document = {"b": [1, 2.5, {"c": None}], "a": "ž", "t": [True, False, []]}
        text = '{"a": "ž", "b": [1, 2.5, {"c": null}], "t": [true, false, []]}'.encode()
        self.assertEqual(
            self.call(document=document),
            {"bytes": len(text), "values": 6, "total": 3.5, "digest": hashlib.sha256(text).hexdigest()},
        )
        self.assertEqual(self.call(document=None)["values"], 1)

    def test_default(self):
        orders = json.loads(self.module.TEXT)["orders"]
        total = sum(o["id"] + o["paid"] + sum(i["sku"] + i["quantity"] for i in o["items"]) for o in orders)
        result = self.call()
        # An order: its number, three of the customer (name, two tags) and one more (vip), twelve of the items, what was paid.
        self.assertEqual(result["values"], 1500 * (1 + 4 + 12 + 1))
        self.assertEqual(result["total"], total)


class ImageProcessing(FunctionCase):
    name = "image_processing"
    needs = ("numpy", "PIL")

    def setUp(self):
        import numpy
        from PIL import Image

        self.pixels = numpy.asarray(Image.open(io.BytesIO(self.module.ALBUM[0]))).astype(int)

    def check_pixels(self, name, pixels, mode="RGB"):
        output = self.call(operations=[name])["outputs"][name]
        self.assertEqual((output["size"], output["mode"]), ([pixels.shape[1], pixels.shape[0]], mode))
        self.assertEqual(output["digest"], hashlib.sha256(pixels.astype("uint8").tobytes()).hexdigest())

    def filtered(self, kernel, scale, offset=0):
        """The picture under a square kernel; Pillow leaves a border of half the kernel as it was, and rounds to the nearest."""
        import numpy

        half = len(kernel) // 2
        height, width, _ = self.pixels.shape
        total = numpy.zeros((height - 2 * half, width - 2 * half, 3), int)
        for y, row in enumerate(kernel):
            for x, weight in enumerate(row):
                total += weight * self.pixels[y : y + height - 2 * half, x : x + width - 2 * half]
        result = self.pixels.copy()
        result[half:-half, half:-half] = numpy.clip(numpy.floor(total / scale + offset + 0.5), 0, 255)
        return result

    def test_turns(self):
        import numpy

        self.check_pixels("flip", self.pixels[:, ::-1])
        self.check_pixels("rotate", numpy.rot90(self.pixels))

    def test_filters(self):
        import numpy

        self.check_pixels("sharpen", self.filtered(-2 * numpy.ones((3, 3), int) + numpy.diag([0, 34, 0]), 16))
        self.check_pixels("contour", self.filtered(-numpy.ones((3, 3), int) + numpy.diag([0, 9, 0]), 1, 255))
        ring = numpy.ones((5, 5), int)
        ring[1:4, 1:4] = 0
        self.check_pixels("blur", self.filtered(ring, 16))

    def test_grey(self):
        # ITU-R 601-2 luma in Pillow's 16-bit fixed point.
        red, green, blue = (self.pixels[..., i] for i in range(3))
        self.check_pixels("grayscale", (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16, "L")

    def test_sizes(self):
        result = self.call()
        self.assertEqual(result["size"], [640, 480])
        self.assertEqual(set(result["outputs"]), set(self.module.OPERATIONS))
        self.assertEqual(result["outputs"]["resize"]["size"], [320, 240])
        self.assertEqual(result["outputs"]["thumbnail"]["size"], [128, 96])
        self.assertEqual(len({output["digest"] for output in result["outputs"].values()}), len(self.module.OPERATIONS))
        self.assertEqual(len(set(self.module.ALBUM)), 16)
        flipped = [self.call(picture=i, operations=["flip"])["outputs"]["flip"]["digest"] for i in (0, 15)]
        self.assertNotEqual(*flipped)
        self.check_refused(picture=16)
        self.check_refused(operations=["enlarge"])


class Bert(FunctionCase):
    name = "bert"
    needs = ("numpy",)
    env = {"BERT_LAYERS": "1"}

    def slow_forward(self, config, weights, numbers, segments):
        """The encoder once more, from the paper, in Python floats and loops."""
        w = {name: array_.tolist() for name, array_ in weights.items()}

        def linear(vectors, matrix, bias):
            return [[math.fsum(x * matrix[i][j] for i, x in enumerate(v)) + b for j, b in enumerate(bias)] for v in vectors]

        def layer_norm(vectors, name):
            result = []
            for v in vectors:
                mean = math.fsum(v) / len(v)
                deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in v) / len(v) + 1e-12)
                result.append([(x - mean) / deviation * s + t for x, s, t in zip(v, w[name + ".scale"], w[name + ".shift"])])
            return result

        def probabilities(values):
            total = math.fsum(math.exp(x) for x in values)
            return [math.exp(x) / total for x in values]

        def plus(a, b):
            return [[x + y for x, y in zip(u, v)] for u, v in zip(a, b)]

        def activation(x):
            return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

        hidden, size = config.hidden, config.hidden // config.heads
        states = [
            [a + b + c for a, b, c in zip(w["word"][n], w["position"][i], w["segment"][s])] for i, (n, s) in enumerate(zip(numbers, segments))
        ]
        states = layer_norm(states, "norm")
        for layer in range(config.layers):
            qkv = linear(states, w[f"{layer}.qkv.matrix"], w[f"{layer}.qkv.bias"])
            mixed = [[0.0] * hidden for _ in states]
            for start in range(0, hidden, size):
                for i, row in enumerate(qkv):
                    scores = [
                        math.fsum(row[start + k] * other[hidden + start + k] for k in range(size)) / math.sqrt(size) for other in qkv
                    ]
                    for weight, other in zip(probabilities(scores), qkv):
                        for k in range(size):
                            mixed[i][start + k] += weight * other[2 * hidden + start + k]
            attended = linear(mixed, w[f"{layer}.out.matrix"], w[f"{layer}.out.bias"])
            states = layer_norm(plus(states, attended), f"{layer}.norm1")
            wide = [[activation(x) for x in v] for v in linear(states, w[f"{layer}.up.matrix"], w[f"{layer}.up.bias"])]
            states = layer_norm(plus(states, linear(wide, w[f"{layer}.down.matrix"], w[f"{layer}.down.bias"])), f"{layer}.norm2")
        pooled = [math.tanh(x) for x in linear(states[:1], w["pooler.matrix"], w["pooler.bias"])[0]]
        return states, pooled, probabilities(linear([pooled], w["classifier.matrix"], w["classifier.bias"])[0])

    def test_forward_pass(self):
        import numpy
        from encoder import Config, Encoder, make_weights

        config = Config(layers=3, hidden=12, heads=3, feed_forward=20, vocabulary=50, positions=16, labels=4)
        weights = make_weights(config, 3)
        # Untrained biases are 0, and small weights hide a wrong attention: draw all of it from a wider distribution.
        draw = numpy.random.default_rng(9)
        for name in weights:
            weights[name] = draw.normal(1 if name.endswith("scale") else 0, 0.5, weights[name].shape).astype(numpy.float32)
        model = Encoder(config, weights)
        for numbers, segments in (([1, 49, 7, 7, 30, 2, 5], [0, 0, 0, 1, 1, 1, 1]), ([3], [1]), (list(range(16)), [0] * 16)):
            states, pooled, labels = self.slow_forward(config, weights, numbers, segments)
            numpy.testing.assert_allclose(model.encode(numbers, segments), states, rtol=2e-4, atol=2e-5)
            numpy.testing.assert_allclose(model.pool(model.encode(numbers, segments)), pooled, rtol=2e-4, atol=2e-5)
            numpy.testing.assert_allclose(model.classify(model.pool(model.encode(numbers, segments))), labels, rtol=2e-4, atol=2e-5)
        with self.assertRaises(ValueError):
            model.encode([0] * 17, [0] * 17)

    def test_weights(self):
        import numpy
        from encoder import Config

        base = Config()
        self.assertEqual((base.layers, base.hidden, base.heads, base.feed_forward, base.vocabulary), (12, 768, 12, 3072, 30522))
        weights = self.module.MODEL.weights
        self.assertEqual({array_.dtype for array_ in weights.values()}, {numpy.dtype("float32")})
        # BERT-base is known to have 109,482,240 parameters (with the pooler, without a classifier).
        layer = sum(array_.size for name, array_ in weights.items() if name[0].isdigit())
        rest = sum(array_.size for name, array_ in weights.items() if not name[0].isdigit() and not name.startswith("classifier"))
        self.assertEqual(rest + base.layers * layer, 109_482_240)
        sample = weights["0.up.matrix"]
        self.assertLessEqual(float(numpy.abs(sample).max()), 0.0400001)
        # The deviation of a normal distribution that is cut off at two of its deviations.
        self.assertAlmostEqual(float(sample.std()) / 0.02, 0.87963, delta=0.003)
        self.assertAlmostEqual(float(sample.mean()), 0, delta=1e-4)

    def test_tokens(self):
        import tokenizer

        self.assertEqual(tokenizer.split_words("Ünder-standing  the\n Ĳ 東京!"), ["under", "-", "standing", "the", "ĳ", "東", "京", "!"])
        self.assertEqual(tokenizer.pieces_of("transformers"), ["transfo", "##rmers"])
        number = functools.partial(tokenizer.piece_number, vocabulary=30522)
        numbers, segments = tokenizer.encode("The the", "a", 30522, 128)
        self.assertEqual(numbers, [101, number("the"), number("the"), 102, number("a"), 102])
        self.assertEqual(segments, [0, 0, 0, 0, 1, 1])
        self.assertTrue(all(999 <= number(str(i)) < 30522 for i in range(1000)))
        numbers, segments = tokenizer.encode("a b c d e f", "g h", 30522, 7)
        self.assertEqual(numbers, [101, number("a"), number("b"), 102, number("g"), number("h"), 102])
        self.assertEqual(tokenizer.encode("", None, 30522, 128), ([101, 102], [0, 0]))

    def test_event(self):
        result = self.call()
        self.assertTrue(16 <= result["tokens"] <= 32)
        self.assertAlmostEqual(sum(result["probabilities"]), 1, places=5)
        self.assertEqual(result["label"], result["probabilities"].index(max(result["probabilities"])))
        self.assertNotEqual(self.call(text="one")["embedding"], self.call(text="two")["embedding"])
        self.assertEqual(self.call(text="word " * 600, max_tokens=512)["tokens"], 512)
        self.check_refused(max_tokens=513)


class Cells(html.parser.HTMLParser):
    """The table of a page: the text of its cells by row, and the rows' classes."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.classes, self.headings, self.inside = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag in ("meta",):
            return
        self.inside.append(tag)
        if tag == "tr" and "class" in dict(attributes):
            self.rows.append([])
            self.classes.append(dict(attributes)["class"])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag, tag

    def handle_data(self, data):
        if "td" in self.inside:
            self.rows[-1][-1] += data
        elif "h1" in self.inside:
            self.headings.append(data)


class HtmlServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        try:
            import jinja2  # noqa: F401
        except ImportError as error:
            print(f"skipped: {error}")
            sys.exit(77)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            cls.port = free.getsockname()[1]
        manifest = read_manifest("html_server")
        environment = {**os.environ, "PORT": str(cls.port)}
        cls.child = subprocess.Popen(manifest["command"], cwd=directory_of("html_server", manifest), env=environment)
        cls.addClassCleanup(cls.child.wait, WAIT_S)
        cls.addClassCleanup(cls.child.kill)
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", cls.port)).close()
                return
            except ConnectionRefusedError:
                assert cls.child.poll() is None and time.monotonic() < deadline, "html_server does not listen"
                time.sleep(0.02)

    def setUp(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        self.addCleanup(self.connection.close)

    def ask(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        return response.status, response.headers, response.read()

    def test_page(self):
        status, headers, body = self.ask("GET", "/?rows=40&seed=3&title=%3Cb%3E%C5%BE")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("<h1>&lt;b&gt;ž</h1>", body.decode())
        cells = Cells(body.decode())
        names = ("Ada", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ida & Sons", "<John>")
        draw = random.Random(3)
        rows, total = [], 0
        for index in range(40):
            name, cents = draw.choice(names), draw.randrange(10**6)
            rows.append([str(index + 1), name, f"{cents // 100}.{cents % 100:02}"])
            total += cents
        self.assertEqual(cells.rows, rows)
        self.assertEqual(cells.classes, ["odd", "even"] * 20)
        self.assertIn(f"<p>40 orders, {total // 100}.{total % 100:02} in all.</p>", body.decode())
        self.assertEqual(self.ask("GET", "/?rows=40&seed=3&title=%3Cb%3E%C5%BE")[2], body)

    def test_connection_is_kept(self):
        self.ask("GET", "/")
        first = self.connection.sock
        self.assertEqual(self.ask("POST", "/?rows=1", b"x" * 100_000)[0], 200)
        status, headers, body = self.ask("HEAD", "/")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 10_000)
        self.assertEqual(self.ask("GET", "/health")[2], b"ok\n")
        self.assertIs(self.connection.sock, first)

    def test_idle_connection_delays_no_other(self):
        with socket.create_connection(("127.0.0.1", self.port)) as idle:
            idle.sendall(b"GET / HT")
            self.assertEqual(self.ask("GET", "/?rows=0")[0], 200)

    def test_refusals(self):
        self.assertEqual(self.ask("GET", "/elsewhere")[0], 404)
        for query in ("rows=-1", "rows=x", "rows=100001", "seed=1.5", "rows=%C2%B2"):
            self.assertEqual(self.ask("GET", "/?" + query)[0], 400, query)
        self.assertEqual(self.ask("DELETE", "/")[0], 501)
        self.assertEqual(self.ask("POST", "/", headers={"Content-Length": str(1 << 40)})[0], 413)

    def test_terminates(self):
        """Last in the alphabet: the process ends at SIGTERM with an open connection."""
        self.ask("GET", "/health")
        self.child.send_signal(signal.SIGTERM)
        self.assertEqual(self.child.wait(WAIT_S), 0)


class Manifests(unittest.TestCase):
    """What hearth deploy will be given."""

    KEYS = set(
        "name command directory contract env concurrency min_instances max_instances memory cpus timeout init_timeout user keep_hot keep_warm "
        "type network port mounts".split()
    )

    def test_every_function_has_one(self):
        for name in NAMES:
            with self.subTest(name=name):
                manifest = read_manifest(name)
                self.assertLessEqual(set(manifest), self.KEYS)
                self.assertEqual(manifest["name"], name)
                directory = directory_of(name, manifest)
                self.assertEqual(manifest["contract"], "http" if name == "html_server" else "lambda")
                self.assertEqual(manifest["command"][0], PYTHON)
                self.assertTrue(os.path.isfile(os.path.join(directory, manifest["command"][1])))
                if manifest["contract"] == "lambda":
                    self.assertEqual(manifest["command"][2], f"{name}/function.handler")
                self.assertRegex(manifest["memory"], r"^\d+[MG]iB$")


if __name__ == "__main__":
    unittest.main()
