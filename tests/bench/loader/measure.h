/* Clocks, percentiles, CPU time, the record's content and the raw disk probe: what both load programs share. */
#ifndef MEASURE_H
#define MEASURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what) {
    perror(what);
    exit(2);
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double own_cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Latencies in microseconds: all of them are kept, so percentiles are exact. */
struct samples {
    uint32_t *values;
    size_t count, room;
    double sum;
};

static inline void samples_add(struct samples *s, int64_t us) {
    if (s->count == s->room) {
        s->room = s->room ? s->room * 2 : 65536;
        s->values = realloc(s->values, s->room * sizeof *s->values);
        if (!s->values) die("realloc");
    }
    if (us < 0) us = 0;
    s->values[s->count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    s->sum += (double)us;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline void samples_print(const char *name, struct samples *s) {
    static const double at[] = {0.5, 0.9, 0.99, 0.999};
    static const char *names[] = {"p50", "p90", "p99", "p999"};
    qsort(s->values, s->count, sizeof *s->values, compare_u32);
    printf("\"%s\": {\"count\": %zu, \"mean\": %.1f", name, s->count, s->count ? s->sum / (double)s->count : 0.0);
    for (int i = 0; i < 4; i++) {
        size_t index = (size_t)(at[i] * (double)(s->count ? s->count - 1 : 0));
        printf(", \"%s\": %u", names[i], s->count ? s->values[index] : 0);
    }
    printf(", \"max\": %u}", s->count ? s->values[s->count - 1] : 0);
}

/* A record's value: its number, a hash of the number, then filler. The smallest record is 16 bytes. */
enum { VALUE_BYTES_MIN = 16 };

static inline uint64_t number_hash(uint64_t number) {
    uint64_t x = number + 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline void value_stamp(void *value, uint64_t number) {
    uint64_t words[2] = {number, number_hash(number)};
    memcpy(value, words, sizeof words);
}

/* The number of a value, or UINT64_MAX if its content is not what was produced. */
static inline uint64_t value_number(const void *value, size_t size) {
    uint64_t words[2];
    if (size < VALUE_BYTES_MIN) return UINT64_MAX;
    memcpy(words, value, sizeof words);
    return words[1] == number_hash(words[0]) ? words[0] : UINT64_MAX;
}

/* The set of acked record numbers, as a file of bits between a producing and a consuming run. */
struct bitmap {
    uint8_t *bits;
    uint64_t count;
};

static inline void bitmap_init(struct bitmap *b, uint64_t count) {
    b->count = count;
    b->bits = calloc(count / 8 + 1, 1);
    if (!b->bits) die("calloc");
}

static inline int bitmap_get(const struct bitmap *b, uint64_t n) {
    return n < b->count && (b->bits[n / 8] >> (n % 8) & 1);
}

static inline void bitmap_set(struct bitmap *b, uint64_t n) {
    if (n < b->count) b->bits[n / 8] |= (uint8_t)(1 << (n % 8));
}

static inline void bitmap_save(const struct bitmap *b, const char *path) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b->bits, 1, b->count / 8 + 1, f) != b->count / 8 + 1 || fclose(f)) die(path);
}

static inline void bitmap_load(struct bitmap *b, const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f || fread(b->bits, 1, b->count / 8 + 1, f) != b->count / 8 + 1 || fclose(f)) die(path);
}

/* What the disk itself needs: an O_DIRECT|O_DSYNC write of the same size, into a preallocated and written file. */
struct probe {
    int fd;
    void *buffer;
    size_t write_bytes;
    off_t position;
    struct samples latencies;
};

enum { PROBE_FILE_BYTES = 64 << 20, PROBE_BLOCK = 4096 };

static inline void probe_open(struct probe *p, const char *path, size_t record_bytes) {
    memset(p, 0, sizeof *p);
    p->write_bytes = (record_bytes + PROBE_BLOCK - 1) / PROBE_BLOCK * PROBE_BLOCK;
    if (posix_memalign(&p->buffer, PROBE_BLOCK, 1 << 20)) die("posix_memalign");
    memset(p->buffer, 0x5a, 1 << 20);
    p->fd = open(path, O_CREAT | O_RDWR | O_DIRECT | O_DSYNC, 0600);
    if (p->fd < 0) die(path);
    for (off_t at = 0; at < PROBE_FILE_BYTES; at += 1 << 20)
        if (pwrite(p->fd, p->buffer, 1 << 20, at) != 1 << 20) die("fill the probe file");
}

static inline void probe_once(struct probe *p) {
    if (p->position + (off_t)p->write_bytes > PROBE_FILE_BYTES) p->position = 0;
    int64_t start = now_ns();
    if (pwrite(p->fd, p->buffer, p->write_bytes, p->position) != (ssize_t)p->write_bytes) die("probe write");
    samples_add(&p->latencies, (now_ns() - start) / 1000);
    p->position += (off_t)p->write_bytes;
}

#endif
