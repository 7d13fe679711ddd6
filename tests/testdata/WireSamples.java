// Prints samples of Kafka's wire as hex text, written by Kafka's own Java code: the judge of
// client/tests/oracle.rs. Runs with kafka-clients 3.9.1 and its compression libraries on the class
// path (Java 17 or later takes the source as it is):
//
//   java -cp 'LIBS/*' WireSamples.java messages > messages.hex
//   (Metadata 13 and DescribeGroups 6 appeared in 4.0: their lines come from kafka-clients 4.0.0.)
//   java -cp 'LIBS/*' WireSamples.java batches  > batches.hex
//
// Messages: a random body for each API and version is made from the schema that the Java class
// carries, read by that class and written by it again, with header.
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.CompactArrayOf;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.ControlRecordType;
import org.apache.kafka.common.record.EndTransactionMarker;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.SimpleRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.utils.ByteUtils;

public class WireSamples {
    static final List<Integer> KEYS = List.of(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20,
        21, 22, 23, 32, 33, 35, 37, 42, 43, 44, 45, 46, 47, 56, 60, 67);

    public static void main(String[] args) {
        if (args[0].equals("messages")) messages(); else batches();
    }

    static void messages() {
        System.out.println("# Written by WireSamples.java: kind, API, version, frame without its length");
        for (int key : KEYS) {
            ApiMessageType type = ApiMessageType.fromApiKey((short) key);
            for (short v = type.lowestSupportedVersion(); v <= type.highestSupportedVersion(true); v++) {
                // Versions of record format 0 and 1 are not spoken.
                if (key == 0 && v < 3 || key == 1 && v < 4) continue;
                System.out.println("request " + type.name + " " + v + " " + sample(type, v, true));
                System.out.println("response " + type.name + " " + v + " " + sample(type, v, false));
            }
        }
    }

    static String sample(ApiMessageType type, short version, boolean request) {
        Schema schema = (request ? type.requestSchemas() : type.responseSchemas())[version];
        ByteBuffer raw = ByteBuffer.allocate(1 << 16);
        write(schema, raw, new Random(31L * type.apiKey() + version + (request ? 1000 : 0)));
        raw.flip();
        ApiMessage body = request ? type.newRequest() : type.newResponse();
        body.read(new ByteBufferAccessor(raw), version);
        if (raw.hasRemaining()) throw new IllegalStateException(type.name + " " + version);
        Message header = request
            ? new RequestHeaderData().setRequestApiKey(type.apiKey()).setRequestApiVersion(version)
                .setCorrelationId(70000 + version).setClientId("sample-\u00e9")
            : new ResponseHeaderData().setCorrelationId(70000 + version);
        short headerVersion = request ? type.requestHeaderVersion(version) : type.responseHeaderVersion(version);
        return bytes(header, headerVersion) + bytes(body, version);
    }

    static String bytes(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer out = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(out), cache, version);
        out.flip();
        return hex(out);
    }

    static void write(Type type, ByteBuffer out, Random random) {
        if (type instanceof Schema schema) {
            for (BoundField field : schema.fields()) write(field.def.type, out, random);
        } else if (type instanceof TaggedFields tagged) {
            tags(tagged, out, random);
        } else if (type.isArray()) {
            array(type, out, random);
        } else {
            primitive(type, out, random);
        }
    }

    static void tags(TaggedFields tagged, ByteBuffer out, Random random) {
        List<Map.Entry<Integer, Field>> present = new ArrayList<>();
        for (Map.Entry<Integer, Field> field : fields(tagged).entrySet()) {
            if (random.nextInt(4) > 0) present.add(field);
        }
        ByteUtils.writeUnsignedVarint(present.size(), out);
        for (Map.Entry<Integer, Field> field : present) {
            ByteBuffer value = ByteBuffer.allocate(4096);
            write(field.getValue().type, value, random);
            value.flip();
            ByteUtils.writeUnsignedVarint(field.getKey(), out);
            ByteUtils.writeUnsignedVarint(value.remaining(), out);
            out.put(value);
        }
    }

    @SuppressWarnings("unchecked")
    static Map<Integer, Field> fields(TaggedFields tagged) {
        try {
            var hidden = TaggedFields.class.getDeclaredField("fields");
            hidden.setAccessible(true);
            return (Map<Integer, Field>) hidden.get(tagged);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    static void array(Type type, ByteBuffer out, Random random) {
        boolean compact = type instanceof CompactArrayOf;
        int count = type.isNullable() && random.nextInt(6) == 0 ? -1 : 1 + random.nextInt(2);
        if (compact) ByteUtils.writeUnsignedVarint(count + 1, out); else out.putInt(count);
        for (int i = 0; i < count; i++) write(type.arrayElementType().get(), out, random);
    }

    static void primitive(Type type, ByteBuffer out, Random random) {
        String name = type.toString();
        boolean compact = name.startsWith("COMPACT_");
        switch (name) {
            case "BOOLEAN": out.put((byte) random.nextInt(2)); return;
            case "INT8": out.put((byte) random.nextInt()); return;
            case "INT16": out.putShort((short) random.nextInt()); return;
            case "INT32": out.putInt(random.nextInt()); return;
            case "INT64": out.putLong(random.nextLong()); return;
            case "UUID": out.putLong(random.nextLong()).putLong(random.nextLong()); return;
            default:
        }
        boolean isNull = type.isNullable() && random.nextInt(4) == 0;
        boolean text = name.endsWith("STRING");
        if (!text && !name.endsWith("BYTES") && !name.endsWith("RECORDS")) throw new IllegalStateException(name);
        byte[] value = "a\u00f1\u6f22z0".substring(0, random.nextInt(6)).getBytes(StandardCharsets.UTF_8);
        int length = isNull ? -1 : value.length;
        if (compact) ByteUtils.writeUnsignedVarint(length + 1, out);
        else if (text) out.putShort((short) length);
        else out.putInt(length);
        if (!isNull) out.put(value);
    }

    static void batches() {
        System.out.println("# Written by WireSamples.java: name, batch");
        Map<String, Compression> codecs = new java.util.TreeMap<>(Map.of("none", Compression.NONE,
            "gzip", Compression.gzip().build(), "snappy", Compression.snappy().build(),
            "lz4", Compression.lz4().build(), "zstd", Compression.zstd().build()));
        codecs.forEach((name, codec) -> {
            print(name, MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V2, 100L, codec,
                TimestampType.CREATE_TIME, 7L, (short) 3, Integer.MAX_VALUE - 1, 5, false, records()));
            SimpleRecord[] many = new SimpleRecord[300];
            for (int i = 0; i < many.length; i++) {
                many[i] = new SimpleRecord(1000 + i, null, ("value " + i % 10 + " ").repeat(60).getBytes());
            }
            // Larger than a block of any codec. Without compression it would only be long.
            if (!name.equals("none")) print(name + "-long", MemoryRecords.withRecords(RecordBatch.MAGIC_VALUE_V2, 0L, codec,
                TimestampType.CREATE_TIME, -1L, (short) -1, -1, -1, false, many));
        });
        MemoryRecordsBuilder appendTime = MemoryRecords.builder(ByteBuffer.allocate(4096), RecordBatch.MAGIC_VALUE_V2,
            Compression.NONE, TimestampType.LOG_APPEND_TIME, 0L, 1700000000000L);
        for (SimpleRecord record : records()) appendTime.append(record);
        print("append-time", appendTime.build());
        print("transactional", MemoryRecords.withTransactionalRecords(0L, Compression.NONE, 9L, (short) 1, 0, 2, records()));
        print("commit", MemoryRecords.withEndTransactionMarker(50L, 123456L, 2, 9L, (short) 1,
            new EndTransactionMarker(ControlRecordType.COMMIT, 4)));
        print("abort", MemoryRecords.withEndTransactionMarker(51L, 123456L, 2, 9L, (short) 1,
            new EndTransactionMarker(ControlRecordType.ABORT, 4)));
        for (byte magic = 0; magic < 2; magic++) {
            print("format-" + magic, MemoryRecords.withRecords(magic, Compression.NONE,
                new SimpleRecord(5L, "k".getBytes(), "v".getBytes())));
        }
    }

    static SimpleRecord[] records() {
        Header[] headers = {new RecordHeader("a", "1".getBytes()), new RecordHeader("\u00e9", null),
            new RecordHeader("a", new byte[0])};
        return new SimpleRecord[] {
            new SimpleRecord(1000L, "key".getBytes(), "value".getBytes(), headers),
            new SimpleRecord(999L, null, new byte[0]),
            new SimpleRecord(1L << 41, new byte[0], null),
        };
    }

    static void print(String name, MemoryRecords records) {
        System.out.println(name + " " + hex(records.buffer()));
    }

    static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return HexFormat.of().formatHex(bytes);
    }
}
