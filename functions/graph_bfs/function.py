# SPDX-License-Identifier: Apache-2.0
"""Breadth-first search of a scale-free graph (SeBS's graph-bfs), with networkx.

Initialisation builds a Barabási–Albert graph of $GRAPH_NODES nodes, each new one tied to $GRAPH_DEGREE others, from $GRAPH_SEED.
Event: {"source": node to start at}. Result: {"nodes", "edges", "source", "visited", "levels", "digest"}: levels[d] counts the nodes at
distance d; digest is the SHA-256 of the nodes in the order of the search.
"""

import array
import hashlib
import os

import networkx

NODES = int(os.environ.get("GRAPH_NODES", "20000"))
DEGREE = int(os.environ.get("GRAPH_DEGREE", "5"))
SEED = int(os.environ.get("GRAPH_SEED", "1"))

GRAPH = networkx.barabasi_albert_graph(NODES, DEGREE, seed=SEED)


def handler(event, context):
    source = int(event.get("source", 0))
    if source not in GRAPH:
        raise ValueError(f"source: {source} is not in 0..{NODES - 1}")
    order = array.array("I", [source])
    depth = {source: 0}
    levels = [1]
    for parent, child in networkx.bfs_edges(GRAPH, source):
        order.append(child)
        level = depth[child] = depth[parent] + 1
        if level == len(levels):
            levels.append(0)
        levels[level] += 1
    return {
        "nodes": NODES,
        "edges": GRAPH.number_of_edges(),
        "source": source,
        "visited": len(order),
        "levels": levels,
        "digest": hashlib.sha256(order.tobytes()).hexdigest(),
    }
