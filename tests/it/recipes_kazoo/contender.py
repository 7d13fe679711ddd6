"""kazoo's side of a mixed line: contender.py HOST:PORT/CHROOT PATH KIND ROUNDS THREADS.

KIND: lock, rwlock, election or hold (takes the lock, says "held", waits to be killed). Each round adds one
to the counter in /store by a write that checks nothing: only mutual exclusion keeps the sum right. The
counter goes with the token of its writer, which must grow. Ends with the line "all good".
"""
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.recipe.lock import ReadLock
from kazoo.retry import ForceRetryError
from kazoo.version import __version__

address, path, kind, rounds, threads = sys.argv[1:]
failures = []


def predecessor(self, node):
    """As kazoo 2.9 has it. In 2.8, which Debian 12 has, a reader waits for the last writer, be it before it
    or behind it: one that is behind waits for the reader, and neither ever moves."""
    children = self.client.get_children(self.path)
    if node not in children:
        raise ForceRetryError()
    matches = (self._contenders_re.search(child) for child in children)
    before = [m for m in matches if m and m.group(1) < node[len(self.prefix):]]
    return max(before, key=lambda m: m.group(1)).string if before else None


if tuple(map(int, __version__.split(".")[:2])) < (2, 9):
    ReadLock._get_predecessor = predecessor


def client():
    zk = KazooClient(hosts=address, timeout=5)
    zk.start(timeout=60)
    return zk


def token(zk, lock):
    return zk.exists(path + "/" + lock.node).czxid


def add(zk, fence):
    data, _ = zk.get("/store")
    count, last = map(int, data.split())
    assert fence > last, "token %d after %d" % (fence, last)
    zk.set("/store", b"%d %d" % (count + 1, fence))


def contend(number):
    zk = client()
    name = "kazoo %d" % number
    for turn in range(int(rounds)):
        if kind == "election":
            election = zk.Election(path, name)
            election.run(lambda: add(zk, token(zk, election.lock)))
        elif kind == "rwlock" and turn % 2:
            with zk.ReadLock(path, name):
                before = zk.get("/store")
                time.sleep(0.002)
                after = zk.get("/store")
                assert before == after, "written while read"
        else:
            lock = zk.WriteLock(path, name) if kind == "rwlock" else zk.Lock(path, name)
            with lock:
                add(zk, token(zk, lock))
    zk.stop()


def guarded(number):
    try:
        contend(number)
    except BaseException as error:
        failures.append(repr(error))
        raise


if kind == "hold":
    zk = client()
    lock = zk.Lock(path, "kazoo")
    lock.acquire()
    print("held %d" % token(zk, lock), flush=True)
    while True:
        try:
            zk.get("/enough")
            break
        except NoNodeError:
            time.sleep(0.02)
    lock.release()
else:
    running = [threading.Thread(target=guarded, args=(n,)) for n in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
assert not failures, failures
print("all good", flush=True)
