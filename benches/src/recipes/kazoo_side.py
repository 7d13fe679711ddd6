"""kazoo's side of `compare --recipes`: kazoo_side.py HOST:PORT.

Reads a command a line, answers with a line: OPERATIONS SECONDS LATENCY_US...; what each command has to do is
said in peer.rs. Locks and queues are used as kazoo's documentation shows.
"""
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.recipe.queue import LockingQueue, Queue

BATCH = 100
WINDOW = 100
CALLERS = 50
ITEM = b"x" * 100
now = time.perf_counter
clients = []


def client():
    zk = KazooClient(hosts=sys.argv[1], timeout=30)
    zk.start(timeout=60)
    return zk


def repeat(seconds, step, count=1):
    """`step` again and again, each of `count` operations."""
    took = []
    begun = now()
    while now() - begun < seconds:
        start = now()
        step()
        took.append(now() - start)
    return len(took) * count, now() - begun, took


def lock(path, seconds):
    held = clients[0].Lock(path)

    def pair():
        held.acquire()
        held.release()

    return repeat(seconds, pair)


def contend(path, seconds):
    return contended(path, seconds, clients)


def share(path, seconds):
    return contended(path, seconds, clients[:1] * CALLERS)


def contended(path, seconds, sessions):
    end = now() + seconds
    released = [None]
    took = []

    def contender(zk):
        held = zk.Lock(path)
        while now() < end:
            held.acquire()
            if released[0] is not None:
                took.append(now() - released[0])
            released[0] = now()
            held.release()

    begun = now()
    threads = [threading.Thread(target=contender, args=(zk,)) for zk in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(took), now() - begun, took


def put(path, seconds):
    queue = LockingQueue(clients[0], path)
    return repeat(seconds, lambda: queue.put(ITEM))


def batch(path, seconds):
    queue = LockingQueue(clients[0], path)
    return repeat(seconds, lambda: queue.put_all([ITEM] * BATCH), BATCH)


def passed(seconds, offer, take):
    """One puts, one takes; at most WINDOW items are on the way."""
    end = now() + seconds
    room = threading.Semaphore(WINDOW)
    put_count = [0]
    ended = threading.Event()

    def produce():
        while now() < end:
            room.acquire()
            offer()
            put_count[0] += 1
        ended.set()

    begun = now()
    producer = threading.Thread(target=produce)
    producer.start()
    taken = 0
    while not ended.is_set() or taken < put_count[0]:
        if take():
            taken += 1
            room.release()
    producer.join()
    return taken, now() - begun, []


def leased(path, seconds):
    into, out = LockingQueue(clients[0], path), LockingQueue(clients[1], path)
    return passed(seconds, lambda: into.put(ITEM), lambda: out.get(0.2) is not None and out.consume())


def unleased(path, seconds):
    into, out = Queue(clients[0], path), Queue(clients[1], path)
    return passed(seconds, lambda: into.put(ITEM), lambda: out.get() is not None)


def opened(count):
    for _ in range(int(count)):
        clients.append(client())
    return 0, 0, []


def closed():
    while clients:
        zk = clients.pop()
        zk.stop()
        zk.close()
    return 0, 0, []


MEASURES = {"lock": lock, "contend": contend, "turns": contend, "share": share, "put": put, "push": put, "batch": batch, "leased": leased, "unleased": unleased}
for line in sys.stdin:
    words = line.split()
    if words[0] == "open":
        operations, took_s, latencies = opened(words[1])
    elif words[0] == "close":
        operations, took_s, latencies = closed()
    else:
        operations, took_s, latencies = MEASURES[words[0]](words[1], float(words[2]))
    print(operations, "%.6f" % took_s, *("%d" % (1e6 * latency) for latency in latencies), flush=True)
