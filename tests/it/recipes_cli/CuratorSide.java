// Curator's side of a shared barrier, as kazoo_side.py is kazoo's: CuratorSide.java HOST:PORT/CHROOT WHAT PATH [COUNT].
// meet: one of COUNT at a double barrier. close, open, wait: a barrier.
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.retry.RetryForever;

public class CuratorSide {
    public static void main(String[] args) throws Exception {
        try (CuratorFramework zk = CuratorFrameworkFactory.builder()
                .connectString(args[0]).sessionTimeoutMs(5000).connectionTimeoutMs(60000)
                .retryPolicy(new RetryForever(200)).ensembleTracker(false).build()) {
            zk.start();
            zk.blockUntilConnected();
            DistributedBarrier barrier = new DistributedBarrier(zk, args[2]);
            switch (args[1]) {
                case "meet" -> {
                    var both = new DistributedDoubleBarrier(zk, args[2], Integer.parseInt(args[3]));
                    if (!both.enter(60, TimeUnit.SECONDS)) throw new AssertionError("not all came");
                    if (!both.leave(60, TimeUnit.SECONDS)) throw new AssertionError("not all left");
                }
                case "close" -> barrier.setBarrier();
                case "open" -> barrier.removeBarrier();
                default -> {
                    System.out.println("waiting");
                    if (!barrier.waitOnBarrier(60, TimeUnit.SECONDS)) throw new AssertionError("not opened");
                }
            }
        }
    }
}
