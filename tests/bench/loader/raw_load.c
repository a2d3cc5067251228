/* Pipelined, unbatched Produce requests without a client library: many connections, a fixed number in flight on each.
 *
 *   raw_load HOST PORT TOPIC key=value...
 *     connections=50 depth=5 seconds=5 size=100 partitions=1 [acked=FILE] [probe=FILE]
 *
 * One record per request (Produce v7, acks=all). With connections=1 depth=1 probe=FILE every request is preceded by an
 * O_DIRECT|O_DSYNC write of the same size, which gives the latency that a broker adds to the disk's own.
 */
#include "measure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { DEPTH_MAX = 64, RESPONSE_MAX = 4096 };

static struct {
    int connections, depth, partitions;
    double seconds;
    size_t size;
    uint64_t messages_max;
    const char *topic, *acked_path, *probe_path;
} options = {.connections = 50, .depth = 5, .partitions = 1, .seconds = 5, .size = 100, .messages_max = 20000000};

struct connection {
    int fd, partition;
    char *frame; /* the request, patched for each send */
    char response[RESPONSE_MAX];
    size_t response_bytes;
    struct { int64_t sent_at; uint64_t number; } in_flight[DEPTH_MAX];
    uint32_t oldest, newest; /* correlation ids; answers come in request order */
};

static uint64_t next_number, acked, failed;
static int first_error;
static struct bitmap acked_numbers;
static struct samples latencies;
static size_t frame_bytes, crc_at, value_at;

static uint32_t crc_table[256];

static void crc32c_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32c(const void *data, size_t bytes) {
    const uint8_t *p = data;
    uint32_t c = 0xffffffffu;
    while (bytes--) c = crc_table[(c ^ *p++) & 0xff] ^ (c >> 8);
    return c ^ 0xffffffffu;
}

static char *put(char *at, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--) *at++ = (char)(value >> (8 * i));
    return at;
}

static char *put_string(char *at, const char *text) {
    at = put(at, strlen(text), 2);
    memcpy(at, text, strlen(text));
    return at + strlen(text);
}

static char *put_varint(char *at, int64_t value) {
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; zigzag >= 0x80; zigzag >>= 7) *at++ = (char)(zigzag | 0x80);
    *at++ = (char)zigzag;
    return at;
}

static int varint_bytes(int64_t value) {
    char scratch[10];
    return (int)(put_varint(scratch, value) - scratch);
}

/* One record of `size` value bytes in one batch, whose CRC is patched when the value is. */
static char *put_batch(const char *frame, char *at, int64_t now_ms) {
    int64_t body = 1 + 1 + 1 + 1 + varint_bytes((int64_t)options.size) + (int64_t)options.size + 1;
    int64_t record = varint_bytes(body) + body;
    at = put(at, 0, 8);                       /* base offset */
    at = put(at, (uint64_t)(49 + record), 4); /* length of what follows */
    at = put(at, UINT32_MAX, 4);              /* partition leader epoch */
    *at++ = 2;                                /* magic */
    crc_at = (size_t)(at - frame);
    at = put(at, 0, 4);                /* crc */
    at = put(at, 0, 2);                /* attributes */
    at = put(at, 0, 4);                /* last offset delta */
    at = put(at, (uint64_t)now_ms, 8); /* base timestamp */
    at = put(at, (uint64_t)now_ms, 8); /* max timestamp */
    at = put(at, UINT64_MAX, 8);       /* producer id */
    at = put(at, UINT64_MAX, 2);       /* producer epoch */
    at = put(at, UINT64_MAX, 4);       /* base sequence */
    at = put(at, 1, 4);                /* records */
    at = put_varint(at, body);
    *at++ = 0;                /* attributes */
    at = put_varint(at, 0);   /* timestamp delta */
    at = put_varint(at, 0);   /* offset delta */
    at = put_varint(at, -1);  /* no key */
    at = put_varint(at, (int64_t)options.size);
    value_at = (size_t)(at - frame);
    memset(at, 'v', options.size);
    at += options.size;
    return put_varint(at, 0); /* headers */
}

static char *build_frame(int partition) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    char *frame = calloc(1, options.size + 512), *at = frame + 4;
    if (!frame) die("calloc");
    at = put(at, 0, 2);          /* Produce */
    at = put(at, 7, 2);          /* version */
    at = put(at, 0, 4);          /* correlation id */
    at = put_string(at, "raw");  /* client id */
    at = put(at, UINT64_MAX, 2); /* no transactional id */
    at = put(at, UINT64_MAX, 2); /* acks=all */
    at = put(at, 30000, 4);      /* timeout ms */
    at = put(at, 1, 4);
    at = put_string(at, options.topic);
    at = put(at, 1, 4);
    at = put(at, (uint64_t)partition, 4);
    char *length = at;
    at = put_batch(frame, at + 4, (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
    put(length, (uint64_t)(at - length - 4), 4);
    frame_bytes = (size_t)(at - frame);
    put(frame, frame_bytes - 4, 4);
    return frame;
}

static void write_all(int fd, const char *data, size_t bytes) {
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EAGAIN) continue; /* at most depth x frame bytes are ever in the socket */
        if (n <= 0) die("write");
        data += n, bytes -= (size_t)n;
    }
}

static void send_request(struct connection *c) {
    uint64_t number = next_number++;
    uint32_t correlation = c->newest++;
    value_stamp(c->frame + value_at, number);
    put(c->frame + 8, correlation, 4);
    put(c->frame + crc_at, crc32c(c->frame + crc_at + 4, frame_bytes - crc_at - 4), 4);
    c->in_flight[correlation % DEPTH_MAX].number = number;
    c->in_flight[correlation % DEPTH_MAX].sent_at = now_ns();
    write_all(c->fd, c->frame, frame_bytes);
}

static uint32_t get32(const char *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

/* v7: correlation id, [topic, [partition, error, base offset, append time, log start]], throttle. */
static void take_response(struct connection *c, const char *body) {
    if (get32(body) != c->oldest) fprintf(stderr, "an answer out of order\n"), exit(1);
    int error = (int16_t)(get32(body + 8 + 2 + strlen(options.topic) + 4 + 2) & 0xffff);
    uint64_t number = c->in_flight[c->oldest % DEPTH_MAX].number;
    samples_add(&latencies, (now_ns() - c->in_flight[c->oldest % DEPTH_MAX].sent_at) / 1000);
    c->oldest++;
    if (error) {
        if (!failed++) first_error = error;
        return;
    }
    acked++;
    bitmap_set(&acked_numbers, number);
}

/* Read what is there; every whole answer makes room for a new request while the run lasts. */
static void on_readable(struct connection *c, int is_sending) {
    ssize_t n = read(c->fd, c->response + c->response_bytes, RESPONSE_MAX - c->response_bytes);
    if (n == 0 || (n < 0 && errno != EAGAIN)) fprintf(stderr, "the broker closed a connection\n"), exit(1);
    if (n < 0) return;
    c->response_bytes += (size_t)n;
    size_t at = 0;
    while (c->response_bytes - at >= 4 && c->response_bytes - at - 4 >= get32(c->response + at)) {
        take_response(c, c->response + at + 4);
        at += 4 + get32(c->response + at);
        if (is_sending && next_number < options.messages_max) send_request(c);
    }
    memmove(c->response, c->response + at, c->response_bytes - at);
    c->response_bytes -= at;
}

static void connect_all(struct connection *all, const char *host, int port, int epoll) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die(host);
    for (int i = 0; i < options.connections; i++) {
        struct connection *c = &all[i];
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->frame = build_frame(i % options.partitions);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
    }
}

static void parse(int argc, char **argv) {
    options.topic = argv[3];
    for (int i = 4; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value) die(argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "connections")) options.connections = atoi(value);
        else if (!strcmp(argv[i], "depth")) options.depth = atoi(value);
        else if (!strcmp(argv[i], "partitions")) options.partitions = atoi(value);
        else if (!strcmp(argv[i], "seconds")) options.seconds = atof(value);
        else if (!strcmp(argv[i], "size")) options.size = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "messages")) options.messages_max = strtoull(value, NULL, 10);
        else if (!strcmp(argv[i], "acked")) options.acked_path = value;
        else if (!strcmp(argv[i], "probe")) options.probe_path = value;
        else fprintf(stderr, "unknown option %s\n", argv[i]), exit(2);
    }
    if (options.depth > DEPTH_MAX) options.depth = DEPTH_MAX;
    if (options.size < VALUE_BYTES_MIN) options.size = VALUE_BYTES_MIN;
    if (options.probe_path && options.connections * options.depth != 1)
        fprintf(stderr, "the probe wants connections=1 depth=1\n"), exit(2);
}

static int is_drained(const struct connection *all) {
    for (int i = 0; i < options.connections; i++)
        if (all[i].oldest != all[i].newest) return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: raw_load HOST PORT TOPIC key=value...\n");
        return 2;
    }
    parse(argc, argv);
    crc32c_init();
    bitmap_init(&acked_numbers, options.messages_max);
    struct probe probe = {.fd = -1};
    if (options.probe_path) probe_open(&probe, options.probe_path, options.size);
    int epoll = epoll_create1(0);
    struct connection *all = calloc((size_t)options.connections, sizeof *all);
    if (epoll < 0 || !all) die("setup");
    connect_all(all, argv[1], atoi(argv[2]), epoll);

    double cpu = own_cpu_seconds();
    int64_t start = now_ns(), end = start + (int64_t)(options.seconds * 1e9), deadline = end + 60 * (int64_t)1000000000;
    for (int d = 0; d < options.depth; d++)
        for (int i = 0; i < options.connections; i++) {
            if (options.probe_path) probe_once(&probe);
            send_request(&all[i]);
        }
    for (int64_t now = start; now < deadline; now = now_ns()) {
        int is_sending = now < end && next_number < options.messages_max;
        if (!is_sending && is_drained(all)) break;
        struct epoll_event events[64];
        int ready = epoll_wait(epoll, events, 64, 100);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            on_readable(c, is_sending && !options.probe_path);
            if (options.probe_path && is_sending && c->oldest == c->newest) {
                probe_once(&probe);
                send_request(c);
            }
        }
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    cpu = own_cpu_seconds() - cpu;
    if (options.acked_path) bitmap_save(&acked_numbers, options.acked_path);
    printf("{\"sent\": %llu, \"acked\": %llu, \"failed\": %llu, \"error\": %d, \"seconds\": %.6f, "
           "\"requests_per_second\": %.1f, \"cpu_seconds\": %.3f, \"in_flight\": %d, ",
           (unsigned long long)next_number, (unsigned long long)acked, (unsigned long long)failed, first_error, seconds,
           (double)acked / seconds, cpu, options.connections * options.depth);
    samples_print("latency_us", &latencies);
    if (options.probe_path) printf(", "), samples_print("disk_us", &probe.latencies);
    printf("}\n");
    return failed || acked != next_number;
}
