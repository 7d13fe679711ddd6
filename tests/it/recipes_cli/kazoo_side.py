"""kazoo's side of a shared queue or barrier: kazoo_side.py HOST:PORT/CHROOT WHAT PATH [COUNT].

put: COUNT items. take: prints items until none comes for a while. hold: takes one, prints it and waits
to be killed. meet: one of COUNT at a double barrier. close, open, wait: a barrier.
"""
import sys
import time

from kazoo.client import KazooClient

address, what, path = sys.argv[1:4]
count = int(sys.argv[4]) if len(sys.argv) > 4 else 0
zk = KazooClient(hosts=address, timeout=3)
zk.start(timeout=60)


def say(data):
    print(data.decode() if isinstance(data, bytes) else data, flush=True)


if what == "put":
    queue = zk.LockingQueue(path)
    for n in range(count):
        queue.put(b"theirs %03d" % n)
elif what == "take":
    queue = zk.LockingQueue(path)
    while True:
        item = queue.get(timeout=8)
        if item is None:
            break
        assert queue.consume()
        say(item)
elif what == "hold":
    say(zk.LockingQueue(path).get())
    time.sleep(3600)
elif what == "meet":
    barrier = zk.DoubleBarrier(path, count)
    barrier.enter()
    assert barrier.participating
    barrier.leave()
else:
    barrier = zk.Barrier(path)
    if what == "close":
        barrier.create()
    elif what == "open":
        assert barrier.remove()
    else:
        say("waiting")
        assert barrier.wait(60)
zk.stop()
