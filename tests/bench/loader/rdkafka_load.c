/* Load on librdkafka, in C because Python clients saturate long before a broker does.
 *
 *   rdkafka_load produce BOOTSTRAP TOPIC key=value...   messages size partitions [rate] [acked=FILE]
 *   rdkafka_load latency BOOTSTRAP TOPIC key=value...   messages size [probe=FILE]: one in flight, disk writes between
 *   rdkafka_load consume BOOTSTRAP TOPIC key=value...   messages partitions [acked=FILE]: from the beginning
 *
 * Keys with a dot are librdkafka's settings (acks, linger.ms, ...; "acks" counts as one too). One line of JSON on
 * standard output; anything that went wrong is counted in it, and a fatal error ends with code 1.
 */
#include "measure.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>

static struct {
    uint64_t messages;
    size_t size;
    int partitions;
    double rate; /* messages per second, 0 = as fast as possible */
    const char *acked_path, *probe_path;
} options = {.messages = 100000, .size = 1024, .partitions = 1};

static struct {
    uint64_t sent, acked, failed;
    struct samples latencies;
    struct bitmap bitmap;
    char first_error[256];
    double outstanding_ns; /* integral of (sent - acked - failed) over time, for Little's law */
    int64_t sampled_at;
} produced;

enum { SAMPLED_EVERY = 64 };

/* Called whenever a few records were sent or answered, so that the count can only be wrong by so many. A poll alone would
 * be too coarse: it waits while all is outstanding and returns when thousands have been answered. */
static void sample_outstanding(void) {
    int64_t now = now_ns();
    produced.outstanding_ns +=
        (double)(produced.sent - produced.acked - produced.failed) * (double)(now - produced.sampled_at);
    produced.sampled_at = now;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    (void)rk, (void)opaque;
    if (message->err) {
        sample_outstanding();
        if (!produced.failed++)
            snprintf(produced.first_error, sizeof produced.first_error, "%s", rd_kafka_err2str(message->err));
        return;
    }
    if (produced.acked++ % SAMPLED_EVERY == 0) sample_outstanding();
    bitmap_set(&produced.bitmap, (uint64_t)(uintptr_t)message->_private);
    samples_add(&produced.latencies, rd_kafka_message_latency(message));
}

static void set_or_die(rd_kafka_conf_t *conf, const char *key, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, key, value, error, sizeof error) == RD_KAFKA_CONF_OK) return;
    fprintf(stderr, "%s=%s: %s\n", key, value, error);
    exit(2);
}

static rd_kafka_conf_t *parse(int argc, char **argv) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set_or_die(conf, "bootstrap.servers", argv[2]);
    for (int i = 4; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) die(argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "messages")) options.messages = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "size")) options.size = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "partitions")) options.partitions = atoi(value);
        else if (!strcmp(argv[i], "rate")) options.rate = atof(value);
        else if (!strcmp(argv[i], "acked")) options.acked_path = value;
        else if (!strcmp(argv[i], "probe")) options.probe_path = value;
        else set_or_die(conf, argv[i], value);
    }
    if (options.size < VALUE_BYTES_MIN) options.size = VALUE_BYTES_MIN;
    return conf;
}

static rd_kafka_t *create(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) fprintf(stderr, "%s\n", error), exit(2);
    return rk;
}

static char *filler(void) {
    char *value = malloc(options.size);
    if (!value) die("malloc");
    /* Not compressible to nothing, not slow to make: the loader must not be what is measured. */
    for (size_t i = 0; i < options.size; i++) value[i] = (char)(33 + (i * 7 + i / 13) % 90);
    return value;
}

static void send_one(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *value, uint64_t number) {
    value_stamp(value, number);
    int32_t partition = (int32_t)(number % (uint64_t)options.partitions);
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value, options.size, NULL, 0,
                            (void *)(uintptr_t)number) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            fprintf(stderr, "produce: %s\n", rd_kafka_err2str(rd_kafka_last_error()));
            exit(1);
        }
        rd_kafka_poll(rk, 1);
    }
    produced.sent++;
}

/* Metadata and the connection are there before the clock starts. */
static rd_kafka_topic_t *warm_topic(rd_kafka_t *rk, const char *name) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *metadata;
    if (!topic || rd_kafka_metadata(rk, 0, topic, &metadata, 10000)) die("metadata");
    rd_kafka_metadata_destroy(metadata);
    return topic;
}

static int run_produce(rd_kafka_conf_t *conf, const char *name) {
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = create(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = warm_topic(rk, name);
    bitmap_init(&produced.bitmap, options.messages);
    char *value = filler();
    double cpu = own_cpu_seconds();
    int64_t start = produced.sampled_at = now_ns();
    for (uint64_t number = 0; number < options.messages; number++) {
        if (options.rate > 0) {
            int64_t due = start + (int64_t)((double)number / options.rate * 1e9);
            for (int64_t now = now_ns(); now < due; now = now_ns()) rd_kafka_poll(rk, (int)((due - now) / 1000000));
        }
        send_one(rk, topic, value, number);
        if (number % SAMPLED_EVERY == 0) {
            sample_outstanding();
            rd_kafka_poll(rk, 0);
        }
    }
    int64_t deadline = now_ns() + 120 * (int64_t)1000000000;
    while (produced.acked + produced.failed < produced.sent && now_ns() < deadline) rd_kafka_poll(rk, 10);
    double seconds = (double)(now_ns() - start) / 1e9;
    cpu = own_cpu_seconds() - cpu;
    if (options.acked_path) bitmap_save(&produced.bitmap, options.acked_path);
    printf("{\"sent\": %llu, \"acked\": %llu, \"failed\": %llu, \"error\": \"%s\", \"seconds\": %.6f, "
           "\"messages_per_second\": %.1f, \"megabytes_per_second\": %.3f, \"cpu_seconds\": %.3f, "
           "\"mean_outstanding\": %.1f, ",
           (unsigned long long)produced.sent, (unsigned long long)produced.acked, (unsigned long long)produced.failed,
           produced.first_error, seconds, (double)produced.acked / seconds,
           (double)produced.acked * (double)options.size / seconds / 1e6, cpu, produced.outstanding_ns / seconds / 1e9);
    samples_print("latency_us", &produced.latencies);
    printf("}\n");
    return produced.acked == options.messages ? 0 : 1;
}

static int run_latency(rd_kafka_conf_t *conf, const char *name) {
    set_or_die(conf, "linger.ms", "0");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_t *rk = create(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = warm_topic(rk, name);
    bitmap_init(&produced.bitmap, options.messages);
    char *value = filler();
    struct probe probe = {.fd = -1};
    struct samples round_trips = {0};
    if (options.probe_path) probe_open(&probe, options.probe_path, options.size);
    options.partitions = 1;
    for (uint64_t number = 0; number < options.messages; number++) {
        if (options.probe_path) probe_once(&probe);
        int64_t start = now_ns();
        send_one(rk, topic, value, number);
        while (produced.acked + produced.failed < produced.sent) rd_kafka_poll(rk, 1000);
        samples_add(&round_trips, (now_ns() - start) / 1000);
    }
    printf("{\"acked\": %llu, \"failed\": %llu, ", (unsigned long long)produced.acked,
           (unsigned long long)produced.failed);
    samples_print("ack_us", &round_trips);
    if (options.probe_path) printf(", "), samples_print("disk_us", &probe.latencies);
    printf("}\n");
    return produced.failed ? 1 : 0;
}

struct found {
    uint64_t records, bytes, doubled, corrupt, errors, ends;
    struct bitmap seen;
    int64_t first_at, last_at;
};

static void take(struct found *found, rd_kafka_message_t *message) {
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        found->ends++;
    } else if (message->err) {
        fprintf(stderr, "consume: %s\n", rd_kafka_message_errstr(message));
        found->errors++;
    } else {
        uint64_t number = value_number(message->payload, message->len);
        found->records++;
        found->bytes += message->len;
        if (number == UINT64_MAX) found->corrupt++;
        else if (bitmap_get(&found->seen, number)) found->doubled++;
        else bitmap_set(&found->seen, number);
    }
    rd_kafka_message_destroy(message);
}

static int run_consume(rd_kafka_conf_t *conf, const char *name) {
    struct found found = {0};
    bitmap_init(&found.seen, options.messages);
    set_or_die(conf, "enable.partition.eof", "true");
    rd_kafka_t *rk = create(RD_KAFKA_CONSUMER, conf);
    rd_kafka_topic_t *topic = warm_topic(rk, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    double cpu = own_cpu_seconds();
    int64_t start = now_ns(), deadline = start + 300 * (int64_t)1000000000;
    for (int partition = 0; partition < options.partitions; partition++)
        if (rd_kafka_consume_start_queue(topic, partition, RD_KAFKA_OFFSET_BEGINNING, queue)) die("consume_start");
    while (found.ends < (uint64_t)options.partitions && !found.errors && now_ns() < deadline) {
        rd_kafka_message_t *batch[1000];
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, batch, 1000);
        if (count > 0 && !found.records) found.first_at = now_ns();
        for (ssize_t i = 0; i < count; i++) take(&found, batch[i]);
        if (count > 0) found.last_at = now_ns();
        if (found.records >= options.messages && !options.acked_path) break;
    }
    cpu = own_cpu_seconds() - cpu;
    uint64_t missing = 0;
    if (options.acked_path) {
        struct bitmap acked;
        bitmap_init(&acked, options.messages);
        bitmap_load(&acked, options.acked_path);
        for (uint64_t n = 0; n < options.messages; n++) missing += bitmap_get(&acked, n) && !bitmap_get(&found.seen, n);
    }
    double seconds = (double)(found.last_at - start) / 1e9, streaming = (double)(found.last_at - found.first_at) / 1e9;
    printf("{\"records\": %llu, \"missing\": %llu, \"doubled\": %llu, \"corrupt\": %llu, \"errors\": %llu, "
           "\"seconds\": %.6f, \"first_after_seconds\": %.6f, \"messages_per_second\": %.1f, "
           "\"megabytes_per_second\": %.3f, \"cpu_seconds\": %.3f}\n",
           (unsigned long long)found.records, (unsigned long long)missing, (unsigned long long)found.doubled,
           (unsigned long long)found.corrupt, (unsigned long long)found.errors, seconds,
           (double)(found.first_at - start) / 1e9, (double)found.records / streaming,
           (double)found.bytes / streaming / 1e6, cpu);
    return missing || found.doubled || found.corrupt || found.errors ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: rdkafka_load produce|latency|consume BOOTSTRAP TOPIC key=value...\n");
        return 2;
    }
    rd_kafka_conf_t *conf = parse(argc, argv);
    int code = 2;
    if (!strcmp(argv[1], "produce")) code = run_produce(conf, argv[3]);
    else if (!strcmp(argv[1], "latency")) code = run_latency(conf, argv[3]);
    else if (!strcmp(argv[1], "consume")) code = run_consume(conf, argv[3]);
    /* Without librdkafka's slow farewell: nothing is left to flush, and its exit is not what is measured. */
    fflush(stdout);
    _exit(code);
}
