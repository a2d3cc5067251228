/* Fetches one partition from its beginning and looks at nothing but batch headers: a consumer that costs next to nothing,
 * where librdkafka, which makes a message of every record, would be what is measured.
 *
 *   raw_fetch HOST PORT TOPIC key=value...   records=100000 fetch_bytes=8388608
 *
 * One Fetch (v11) in flight. Every answer must go on where the one before it ended; ends when `records` were seen.
 */
#include "measure.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH_HEADER_BYTES = 61, FRAME_MAX = 128 << 20 };

static struct {
    uint64_t records;
    uint32_t fetch_bytes;
} options = {.records = 100000, .fetch_bytes = 8 << 20};

static char *put(char *at, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) *at++ = (char)(value >> (8 * i));
    return at;
}

static char *put_string(char *at, const char *text) {
    at = put(at, strlen(text), 2);
    memcpy(at, text, strlen(text));
    return at + strlen(text);
}

static uint32_t get32(const char *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static uint64_t get64(const char *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return be64toh(value);
}

static void send_fetch(int fd, const char *topic, uint32_t correlation, uint64_t offset) {
    char frame[1024], *at = frame + 4;
    at = put(at, 1, 2); /* Fetch */
    at = put(at, 11, 2);
    at = put(at, correlation, 4);
    at = put_string(at, "raw");
    at = put(at, UINT32_MAX, 4); /* replica id */
    at = put(at, 500, 4);        /* max wait ms */
    at = put(at, 1, 4);          /* min bytes */
    at = put(at, options.fetch_bytes, 4);
    at = put(at, 0, 1);          /* isolation level */
    at = put(at, 0, 4);          /* session id */
    at = put(at, UINT32_MAX, 4); /* session epoch: none */
    at = put(at, 1, 4);
    at = put_string(at, topic);
    at = put(at, 1, 4);
    at = put(at, 0, 4);          /* partition */
    at = put(at, UINT32_MAX, 4); /* current leader epoch */
    at = put(at, offset, 8);
    at = put(at, UINT64_MAX, 8); /* log start offset */
    at = put(at, options.fetch_bytes, 4);
    at = put(at, 0, 4); /* forgotten topics */
    at = put_string(at, "");
    put(frame, (uint64_t)(at - frame - 4), 4);
    if (write(fd, frame, (size_t)(at - frame)) != at - frame) die("write");
}

static void read_all(int fd, char *target, size_t bytes) {
    while (bytes) {
        ssize_t n = read(fd, target, bytes);
        if (n <= 0) fprintf(stderr, "the broker closed the connection\n"), exit(1);
        target += n, bytes -= (size_t)n;
    }
}

/* Correlation id, throttle, error, session, [topic, [partition, error, three offsets, aborted, replica, records]]. */
static const char *find_records(const char *body, const char *topic, uint32_t *bytes) {
    const char *row = body + 4 + 4 + 2 + 4 + 4 + 2 + strlen(topic) + 4;
    int error = (int)(get32(row + 4) >> 16);
    if (error) fprintf(stderr, "fetch error %d\n", error), exit(1);
    *bytes = get32(row + 4 + 2 + 24 + 4 + 4);
    return row + 4 + 2 + 24 + 4 + 4 + 4;
}

/* The offset behind the last whole batch. The first batch may begin before `offset`, the last may be cut short (Kafka). */
static uint64_t walk(const char *records, uint32_t bytes, uint64_t offset) {
    uint32_t at = 0;
    while (bytes - at >= BATCH_HEADER_BYTES) {
        uint64_t base = get64(records + at);
        uint32_t size = 12 + get32(records + at + 8);
        if (size > bytes - at) break;
        if (base > offset) fprintf(stderr, "a gap: offset %llu\n", (unsigned long long)offset), exit(1);
        offset = base + get32(records + at + 23) + 1;
        at += size;
    }
    return offset;
}

static int connect_to(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die(host);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: raw_fetch HOST PORT TOPIC key=value...\n");
        return 2;
    }
    for (int i = 4; i < argc; i++) {
        if (!strncmp(argv[i], "records=", 8)) options.records = strtoull(argv[i] + 8, NULL, 10);
        else if (!strncmp(argv[i], "fetch.bytes=", 12)) options.fetch_bytes = (uint32_t)strtoul(argv[i] + 12, NULL, 10);
        else fprintf(stderr, "unknown option %s\n", argv[i]), exit(2);
    }
    int fd = connect_to(argv[1], atoi(argv[2]));
    char *body = malloc(FRAME_MAX), prefix[4];
    if (!body) die("malloc");
    memset(body, 0, options.fetch_bytes + (1 << 20)); /* pages are there before the clock starts */
    uint64_t offset = 0, bytes = 0, fetches = 0;
    double cpu = own_cpu_seconds();
    int64_t start = now_ns(), deadline = start + 120 * (int64_t)1000000000;
    while (offset < options.records && now_ns() < deadline) {
        send_fetch(fd, argv[3], (uint32_t)fetches++, offset);
        read_all(fd, prefix, 4);
        if (get32(prefix) > FRAME_MAX) fprintf(stderr, "a frame of %u bytes\n", get32(prefix)), exit(1);
        read_all(fd, body, get32(prefix));
        uint32_t size;
        const char *records = find_records(body, argv[3], &size);
        offset = walk(records, size, offset);
        bytes += size;
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    cpu = own_cpu_seconds() - cpu;
    printf("{\"records\": %llu, \"bytes\": %llu, \"fetches\": %llu, \"seconds\": %.6f, \"megabytes_per_second\": %.3f, "
           "\"cpu_seconds\": %.3f}\n",
           (unsigned long long)offset, (unsigned long long)bytes, (unsigned long long)fetches, seconds,
           (double)bytes / seconds / 1e6, cpu);
    return offset < options.records;
}
