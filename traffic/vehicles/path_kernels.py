"""The kernel of shortest paths: from many places to many places of a road graph, under several costs of its edges."""

import numpy as np

from traffic.vehicles.compiled import kernel, numbers, part, types

REALS = types.Array(types.float64, 1, "C")


@part
def push(heap_cost, heap_node, size, cost, node):
    """Put an entry into a binary heap; returns its new size."""
    at = size
    while at > 0 and heap_cost[(at - 1) >> 1] > cost:
        heap_cost[at], heap_node[at] = heap_cost[(at - 1) >> 1], heap_node[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap_cost[at], heap_node[at] = cost, node
    return size + 1


@part
def pop(heap_cost, heap_node, size):
    """Take the least entry out of a binary heap (the caller has looked at it); returns its new size."""
    size -= 1
    cost, node, at = heap_cost[size], heap_node[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap_cost[child + 1] < heap_cost[child]:
            child += 1
        if heap_cost[child] >= cost:
            break
        heap_cost[at], heap_node[at] = heap_cost[child], heap_node[child]
        at = child
    heap_cost[at], heap_node[at] = cost, node
    return size


@part
def spread_from(source, first_of, to, cost, reached):
    """Dijkstra: the least cost of every node from one, infinite where there is no way."""
    heap_cost, heap_node = np.empty(len(to) + 1), np.empty(len(to) + 1, np.int64)
    reached[:] = np.inf
    reached[source] = 0.0
    size = push(heap_cost, heap_node, 0, 0.0, source)
    while size > 0:
        so_far, node = heap_cost[0], heap_node[0]
        size = pop(heap_cost, heap_node, size)
        if so_far > reached[node]:
            continue
        for edge in range(first_of[node], first_of[node + 1]):
            total = so_far + cost[edge]
            if total < reached[to[edge]]:
                reached[to[edge]] = total
                size = push(heap_cost, heap_node, size, total, to[edge])


@kernel(types.Array(types.float64, 2, "C"), numbers, numbers, REALS, numbers)
def between(first_of, to, cost, places):
    """Least costs from each place to each (nodes). Edges of node i lead `to[first_of[i]:first_of[i + 1]]`."""
    found = np.empty((len(places), len(places)))
    reached = np.empty(len(first_of) - 1)
    for i in range(len(places)):
        spread_from(places[i], first_of, to, cost, reached)
        for j in range(len(places)):
            found[i, j] = reached[places[j]]
    return found
