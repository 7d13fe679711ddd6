// Curator's side of `compare --recipes`: CuratorSide.java HOST:PORT. As kazoo_side.py is kazoo's; what each
// command has to do is said in peer.rs.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;

public class CuratorSide {
    static final int BATCH = 100;
    static final int WINDOW = 100;
    static final int CALLERS = 50;
    static final byte[] ITEM = "x".repeat(100).getBytes();
    static final List<CuratorFramework> clients = new ArrayList<>();

    interface Step { void run() throws Exception; }

    /** What was measured. */
    static class Taken {
        long operations;
        double seconds;
        final List<Long> nanos = new ArrayList<>();
    }

    static class Bytes implements QueueSerializer<byte[]> {
        public byte[] serialize(byte[] item) { return item; }
        public byte[] deserialize(byte[] bytes) { return bytes; }
    }

    static CuratorFramework client(String address) throws Exception {
        CuratorFramework zk = CuratorFrameworkFactory.builder()
            .connectString(address).sessionTimeoutMs(30000).connectionTimeoutMs(60000)
            .retryPolicy(new RetryForever(200)).ensembleTracker(false).build();
        zk.start();
        zk.blockUntilConnected();
        return zk;
    }

    static double since(long begun) { return (System.nanoTime() - begun) / 1e9; }

    /** `step` again and again, each of `count` operations. */
    static Taken repeat(double seconds, int count, Step step) throws Exception {
        Taken taken = new Taken();
        long begun = System.nanoTime();
        while (since(begun) < seconds) {
            long start = System.nanoTime();
            step.run();
            taken.nanos.add(System.nanoTime() - start);
        }
        taken.operations = (long) taken.nanos.size() * count;
        taken.seconds = since(begun);
        return taken;
    }

    static Taken lock(String path, double seconds) throws Exception {
        InterProcessMutex mutex = new InterProcessMutex(clients.get(0), path);
        return repeat(seconds, 1, () -> { mutex.acquire(); mutex.release(); });
    }

    static volatile long released;

    static Taken contend(String path, double seconds) throws Exception {
        List<InterProcessMutex> each = new ArrayList<>();
        for (CuratorFramework zk : clients) each.add(new InterProcessMutex(zk, path));
        return contend(each, seconds);
    }

    /** One mutex for all threads, as its documentation shows. */
    static Taken share(String path, double seconds) throws Exception {
        return contend(Collections.nCopies(CALLERS, new InterProcessMutex(clients.get(0), path)), seconds);
    }

    static Taken contend(List<InterProcessMutex> mutexes, double seconds) throws Exception {
        Taken taken = new Taken();
        released = 0;
        long begun = System.nanoTime();
        List<Thread> threads = new ArrayList<>();
        for (InterProcessMutex mutex : mutexes) {
            threads.add(new Thread(() -> {
                try {
                    while (since(begun) < seconds) {
                        mutex.acquire();
                        // Under the lock, so one thread at a time.
                        if (released != 0) taken.nanos.add(System.nanoTime() - released);
                        released = System.nanoTime();
                        mutex.release();
                    }
                } catch (Exception failure) {
                    failure.printStackTrace();
                    System.exit(1);
                }
            }));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        taken.operations = taken.nanos.size();
        taken.seconds = since(begun);
        return taken;
    }

    @SuppressWarnings("deprecation")
    static Taken put(String path, double seconds) throws Exception {
        SimpleDistributedQueue queue = new SimpleDistributedQueue(clients.get(0), path);
        return repeat(seconds, 1, () -> queue.offer(ITEM));
    }

    static DistributedQueue<byte[]> queue(CuratorFramework zk, QueueConsumer<byte[]> consumer, String path) throws Exception {
        DistributedQueue<byte[]> queue = QueueBuilder.builder(zk, consumer, new Bytes(), path)
            .lockPath(path + "-locks").buildQueue();
        queue.start();
        return queue;
    }

    static Taken batch(String path, double seconds) throws Exception {
        try (DistributedQueue<byte[]> queue = queue(clients.get(0), null, path)) {
            return repeat(seconds, BATCH, () -> {
                for (int i = 0; i < BATCH; i++) queue.put(ITEM);
                if (!queue.flushPuts(60, TimeUnit.SECONDS)) throw new AssertionError("not flushed");
            });
        }
    }

    static Taken leased(String path, double seconds) throws Exception {
        Semaphore room = new Semaphore(WINDOW);
        AtomicInteger done = new AtomicInteger();
        QueueConsumer<byte[]> consumer = new QueueConsumer<>() {
            public void consumeMessage(byte[] item) { done.incrementAndGet(); room.release(); }
            public void stateChanged(CuratorFramework zk, ConnectionState state) { }
        };
        Taken taken = new Taken();
        try (DistributedQueue<byte[]> into = queue(clients.get(0), null, path);
             DistributedQueue<byte[]> out = queue(clients.get(1), consumer, path)) {
            long begun = System.nanoTime();
            int put = 0;
            for (; since(begun) < seconds; put++) {
                room.acquire();
                into.put(ITEM);
            }
            while (done.get() < put) Thread.sleep(1);
            taken.operations = put;
            taken.seconds = since(begun);
        }
        return taken;
    }

    static Taken unleased(String path, double seconds) throws Exception {
        SimpleDistributedQueue into = new SimpleDistributedQueue(clients.get(0), path);
        SimpleDistributedQueue out = new SimpleDistributedQueue(clients.get(1), path);
        Semaphore room = new Semaphore(WINDOW);
        AtomicInteger put = new AtomicInteger();
        long begun = System.nanoTime();
        Thread producer = new Thread(() -> {
            try {
                while (since(begun) < seconds) {
                    room.acquire();
                    into.offer(ITEM);
                    put.incrementAndGet();
                }
            } catch (Exception failure) {
                failure.printStackTrace();
                System.exit(1);
            }
        });
        producer.start();
        Taken taken = new Taken();
        while (producer.isAlive() || taken.operations < put.get()) {
            if (out.poll(200, TimeUnit.MILLISECONDS) != null) {
                taken.operations++;
                room.release();
            }
        }
        taken.seconds = since(begun);
        return taken;
    }

    static Taken serve(String address, String[] words) throws Exception {
        switch (words[0]) {
            case "open" -> {
                for (int i = 0; i < Integer.parseInt(words[1]); i++) clients.add(client(address));
                return new Taken();
            }
            case "close" -> {
                for (CuratorFramework zk : clients) zk.close();
                clients.clear();
                return new Taken();
            }
        }
        double seconds = Double.parseDouble(words[2]);
        return switch (words[0]) {
            case "lock" -> lock(words[1], seconds);
            case "contend", "turns" -> contend(words[1], seconds);
            case "share" -> share(words[1], seconds);
            case "put", "push" -> put(words[1], seconds);
            case "batch" -> batch(words[1], seconds);
            case "leased" -> leased(words[1], seconds);
            case "unleased" -> unleased(words[1], seconds);
            default -> throw new IllegalArgumentException(words[0]);
        };
    }

    public static void main(String[] args) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = commands.readLine()) != null; ) {
            Taken taken = serve(args[0], line.split(" "));
            StringBuilder answer = new StringBuilder();
            answer.append(taken.operations).append(' ').append(taken.seconds);
            for (long nanos : taken.nanos) answer.append(' ').append(nanos / 1000);
            System.out.println(answer);
        }
        System.exit(0);
    }
}
