/* A store that is far away: forwards TCP connections to a server on this machine, as if each request took a time to reach it
 * and no connection could carry more than so many bytes a second back. S3 is like that: latency and a rate per connection.
 *
 *   far_store HOST PORT DELAY_MS BYTES_PER_S      prints its own port on 127.0.0.1, serves until it is killed
 */
#include "measure.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

enum { PIECE_BYTES = 128 << 10, NEW_REQUEST_NS = 2000000 };

static struct sockaddr_in target;
static int64_t delay_ns, bytes_per_s;

struct way {
    int from, to;
    int is_back;
};

static void sleep_ns(int64_t ns) {
    if (ns <= 0) return;
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    nanosleep(&t, NULL);
}

static int send_all(int to, const char *data, ssize_t size) {
    while (size > 0) {
        ssize_t sent = send(to, data, (size_t)size, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        data += sent;
        size -= sent;
    }
    return 1;
}

/* Requests wait once, at their first bytes; answers leave no faster than the rate, counted from the first bytes of each. */
static void *carry(void *argument) {
    struct way *way = argument;
    char *piece = malloc(PIECE_BYTES);
    if (!piece) die("malloc");
    int64_t last_ns = 0, began_ns = 0, carried = 0;
    for (;;) {
        ssize_t size = recv(way->from, piece, PIECE_BYTES, 0);
        if (size <= 0) break;
        int64_t now = now_ns();
        int is_new = now - last_ns > NEW_REQUEST_NS;
        if (is_new) {
            began_ns = now;
            carried = 0;
            if (!way->is_back) sleep_ns(delay_ns);
        }
        if (!send_all(way->to, piece, size)) break;
        carried += size;
        if (way->is_back) sleep_ns(began_ns + carried * 1000000000 / bytes_per_s - now_ns());
        last_ns = now_ns();
    }
    shutdown(way->to, SHUT_WR);
    shutdown(way->from, SHUT_RD);
    free(piece);
    return NULL;
}

static void *serve(void *argument) {
    int near = (int)(intptr_t)argument, one = 1;
    int far = socket(AF_INET, SOCK_STREAM, 0);
    if (far >= 0 && connect(far, (struct sockaddr *)&target, sizeof target) == 0) {
        setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct way to = {.from = near, .to = far, .is_back = 0}, back = {.from = far, .to = near, .is_back = 1};
        pthread_t thread;
        if (pthread_create(&thread, NULL, carry, &to)) die("pthread_create");
        carry(&back);
        pthread_join(thread, NULL);
    }
    if (far >= 0) close(far);
    close(near);
    return NULL;
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: far_store HOST PORT DELAY_MS BYTES_PER_S\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(words[2]));
    if (inet_pton(AF_INET, words[1], &target.sin_addr) != 1) die("HOST");
    delay_ns = atoll(words[3]) * 1000000;
    bytes_per_s = atoll(words[4]);
    signal(SIGPIPE, SIG_IGN);

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof own;
    if (bind(listener, (struct sockaddr *)&own, size) || listen(listener, 128)) die("listen");
    getsockname(listener, (struct sockaddr *)&own, &size);
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    for (;;) {
        int near = accept(listener, NULL, NULL);
        if (near < 0) die("accept");
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)near)) die("pthread_create");
        pthread_detach(thread);
    }
}
