import com.fasterxml.jackson.databind.JsonNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

/**
 * Lets Kafka's own generated classes read messages: lines "class version hex" in, "class version hex json" out, where the
 * second hex is what Kafka writes for what it read. tests/vectors/make.py feeds it; the answers are committed.
 */
public class KafkaVectors {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] parts = line.split(" ");
            short version = Short.parseShort(parts[1]);
            Class<?> type = Class.forName(parts[0]);
            Message message = (Message) type.getDeclaredConstructor().newInstance();
            ByteBuffer bytes = ByteBuffer.wrap(HexFormat.of().parseHex(parts.length > 2 ? parts[2] : ""));
            message.read(new ByteBufferAccessor(bytes), version);
            if (bytes.hasRemaining()) {
                throw new IllegalStateException(parts[0] + " v" + version + " leaves " + bytes.remaining() + " bytes");
            }
            Class<?> converter = Class.forName(parts[0] + "JsonConverter");
            Object json = converter.getMethod("write", type, short.class).invoke(null, message, version);
            ByteBuffer again = MessageUtil.toByteBufferAccessor(message, version).buffer();
            byte[] written = new byte[again.remaining()];
            again.get(written);
            System.out.println(parts[0] + " " + version + " " + HexFormat.of().formatHex(written) + " " + (JsonNode) json);
        }
    }
}
