// Curator's side of a mixed line, as contender.py is kazoo's:
// Contender.java HOST:PORT/CHROOT PATH KIND ROUNDS THREADS.
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.retry.RetryForever;

public class Contender {
    static String path;

    static CuratorFramework client(String address) throws Exception {
        CuratorFramework zk = CuratorFrameworkFactory.builder()
            .connectString(address).sessionTimeoutMs(5000).connectionTimeoutMs(60000)
            .retryPolicy(new RetryForever(200)).ensembleTracker(false).build();
        zk.start();
        zk.blockUntilConnected();
        return zk;
    }

    /** Of the first in line: whoever holds alone is that. */
    static long token(CuratorFramework zk) throws Exception {
        String first = zk.getChildren().forPath(path).stream()
            .min(Comparator.comparing(name -> name.substring(name.length() - 10))).get();
        return zk.checkExists().forPath(path + "/" + first).getCzxid();
    }

    static void add(CuratorFramework zk) throws Exception {
        long fence = token(zk);
        String[] text = new String(zk.getData().forPath("/store"), StandardCharsets.UTF_8).split(" ");
        if (fence <= Long.parseLong(text[1])) throw new AssertionError("token " + fence + " after " + text[1]);
        String next = (Long.parseLong(text[0]) + 1) + " " + fence;
        zk.setData().forPath("/store", next.getBytes(StandardCharsets.UTF_8));
    }

    static void contend(CuratorFramework zk, String kind, int turn) throws Exception {
        if (kind.equals("election")) {
            try (LeaderLatch latch = new LeaderLatch(zk, path, "curator")) {
                latch.start();
                latch.await();
                add(zk);
            }
        } else if (kind.equals("rwlock") && turn % 2 == 1) {
            InterProcessReadWriteLock lock = new InterProcessReadWriteLock(zk, path);
            lock.readLock().acquire();
            try {
                byte[] before = zk.getData().forPath("/store");
                Thread.sleep(2);
                if (!Arrays.equals(before, zk.getData().forPath("/store"))) throw new AssertionError("written while read");
            } finally {
                lock.readLock().release();
            }
        } else {
            InterProcessMutex lock = kind.equals("rwlock")
                ? new InterProcessReadWriteLock(zk, path).writeLock() : new InterProcessMutex(zk, path);
            lock.acquire();
            try {
                add(zk);
            } finally {
                lock.release();
            }
        }
    }

    public static void main(String[] args) throws Exception {
        path = args[1];
        String kind = args[2];
        int rounds = Integer.parseInt(args[3]);
        if (kind.equals("hold")) {
            CuratorFramework zk = client(args[0]);
            new InterProcessMutex(zk, path).acquire();
            System.out.println("held " + token(zk));
            Thread.sleep(Long.MAX_VALUE);
        }
        Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < Integer.parseInt(args[4]); number++) {
            threads.add(new Thread(() -> {
                try (CuratorFramework zk = client(args[0])) {
                    for (int turn = 0; turn < rounds; turn++) contend(zk, kind, turn);
                } catch (Throwable failure) {
                    failure.printStackTrace();
                    failures.add(failure);
                }
            }));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        if (!failures.isEmpty()) System.exit(1);
        System.out.println("all good");
    }
}
