"""What kazoo, the Python client, makes of a ZooKeeper: kazoo_client.py HOST:PORT FOLDER.

Asks for a restart of the server by writing FOLDER/restart and waits for FOLDER/restarted.
Ends with the line "all good"; anything else is a failure.
"""
import os
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import (BadVersionError, NoAuthError, NodeExistsError, NoNodeError,
                              NotEmptyError, RolledBackError)
from kazoo.security import make_digest_acl

address, folder = sys.argv[1:]


def until(what, look, limit=60):
    end = time.time() + limit
    while not look():
        if time.time() > end:
            raise AssertionError("not in time: " + what)
        time.sleep(0.02)


def refused(error, call, *args, **more):
    try:
        call(*args, **more)
    except error:
        return
    raise AssertionError("%s did not fail with %s" % (call, error))


def client(**more):
    zk = KazooClient(hosts=address, timeout=8, **more)
    zk.start(timeout=60)
    return zk


zk, other = client(), client()

# Nodes.
zk.ensure_path("/py/deep/er")
assert zk.create("/py/a", b"one") == "/py/a"
refused(NodeExistsError, zk.create, "/py/a")
refused(NoNodeError, zk.get, "/py/none")
refused(NotEmptyError, zk.delete, "/py")
data, stat = zk.get("/py/a")
assert (data, stat.version, stat.dataLength) == (b"one", 0, 3), stat
refused(BadVersionError, zk.set, "/py/a", b"x", version=7)
assert zk.set("/py/a", b"two", version=0).version == 1
assert zk.create("/py/s-", sequence=True) == "/py/s-0000000002"
path, stat = zk.create("/py/e", b"e", ephemeral=True, include_data=True)
assert stat.ephemeralOwner == zk.client_id[0]
assert sorted(zk.get_children("/py")) == ["a", "deep", "e", "s-0000000002"]
assert zk.sync("/py") == "/py"
big = os.urandom(900_000)
zk.create("/py/big", big)
assert zk.get("/py/big")[0] == big

# Watches.
seen = []
zk.exists("/py/w", watch=seen.append)
other.create("/py/w")
until("a watch", lambda: [e.type for e in seen] == ["CREATED"])
values, children = [], []
zk.DataWatch("/py/w", lambda data, stat: values.append(data))
zk.ChildrenWatch("/py/w", lambda names: children.append(sorted(names)))
other.set("/py/w", b"1")
until("data", lambda: values[-1] == b"1")
other.create("/py/w/c")
until("children", lambda: children[-1] == ["c"])

# Transactions.
t = zk.transaction()
t.check("/py/a", 1)
t.create("/py/t")
t.set_data("/py/t", b"t")
t.delete("/py/w/c")
results = t.commit()
assert results[0] is True and results[1] == "/py/t" and results[3] is True, results
t = zk.transaction()
t.create("/py/t2")
t.check("/py/a", 9)
results = t.commit()
assert isinstance(results[0], RolledBackError) and isinstance(results[1], BadVersionError), results
assert zk.exists("/py/t2") is None

# ACLs.
acl = make_digest_acl("alice", "secret", all=True)
zk.create("/py/secret", b"s", acl=[acl])
refused(NoAuthError, zk.get, "/py/secret")
refused(NoAuthError, zk.get_acls, "/py/secret")
zk.add_auth("digest", "alice:secret")
assert zk.get("/py/secret")[0] == b"s"
assert zk.get_acls("/py/secret")[0] == [acl]

# Recipes: a lock between two clients, an election, a queue, a barrier of two.
order = []
lock, rival = zk.Lock("/py/lock", "one"), other.Lock("/py/lock", "two")
lock.acquire(timeout=60)


def wait_for_lock():
    with rival:
        order.append("rival")


thread = threading.Thread(target=wait_for_lock)
thread.start()
until("a contender", lambda: lock.contenders() == ["one", "two"])
order.append("owner")
lock.release()
thread.join(60)
assert order == ["owner", "rival"], order
elected = threading.Event()
election = zk.Election("/py/election", "one")
thread = threading.Thread(target=lambda: election.run(elected.set))
thread.start()
assert elected.wait(60)
thread.join(60)
queue = zk.Queue("/py/queue")
queue.put(b"first")
queue.put(b"second")
assert (queue.get(), queue.get(), queue.get()) == (b"first", b"second", None)
left = threading.Thread(target=lambda: other.DoubleBarrier("/py/barrier", 2).enter())
left.start()
zk.DoubleBarrier("/py/barrier", 2).enter()
left.join(60)
assert not left.is_alive()

# The server restarts: same session, its ephemerals intact.
session, states = zk.client_id, []
zk.add_listener(states.append)
open(os.path.join(folder, "restart"), "w").close()
until("a restart", lambda: os.path.exists(os.path.join(folder, "restarted")))
until("a connection", lambda: zk.connected and other.connected)
assert zk.client_id == session, "another session"
assert KazooState.LOST not in states, states
assert zk.exists("/py/e").ephemeralOwner == session[0]
assert zk.get("/py/secret")[0] == b"s", "its identity was added again"
# kazoo drops plain watches when it is disconnected; its recipes set theirs again.
other.retry(other.set, "/py/w", b"2")
until("data after the restart", lambda: values[-1] == b"2")

zk.delete("/py/secret")
zk.stop()
until("the end of its ephemerals", lambda: other.exists("/py/e") is None)
other.delete("/py", recursive=True)
other.stop()
print("all good")
