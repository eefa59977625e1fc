/* Calls what its lines say: function, object, result, bytes that were done, and all bytes in hexadecimal digits. */
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

extern long told_result;
extern size_t told_done;
extern const void *told_bytes;
void SSL_set_accept_state(void *ssl);
void SSL_set_connect_state(void *ssl);
void SSL_free(void *ssl);
int SSL_read(void *ssl, void *buffer, int room);
int SSL_read_ex(void *ssl, void *buffer, size_t room, size_t *done);
int SSL_write(void *ssl, const void *buffer, int length);
int SSL_write_ex(void *ssl, const void *buffer, size_t length, size_t *done);
ssize_t SSL_sendfile(void *ssl, int file, off_t offset, size_t size, int flags);

int main(void) {
    static char function[32], digits[20000], bytes[10000], buffer[10000];
    unsigned long object;
    while (scanf("%31s %lu %ld %zu %19999s", function, &object, &told_result, &told_done, digits) == 5) {
        size_t length = 0, done = 0;
        unsigned byte;
        while (sscanf(digits + 2 * length, "%2x", &byte) == 1) {
            bytes[length++] = byte;
        }
        void *ssl = (void *)(4096 + object);
        told_bytes = bytes;
        if (strcmp(function, "accept") == 0) SSL_set_accept_state(ssl);
        if (strcmp(function, "connect") == 0) SSL_set_connect_state(ssl);
        if (strcmp(function, "free") == 0) SSL_free(ssl);
        if (strcmp(function, "read") == 0) SSL_read(ssl, buffer, sizeof buffer);
        if (strcmp(function, "read_ex") == 0) SSL_read_ex(ssl, buffer, sizeof buffer, &done);
        if (strcmp(function, "write") == 0) SSL_write(ssl, bytes, length);
        if (strcmp(function, "write_ex") == 0) SSL_write_ex(ssl, bytes, length, &done);
        if (strcmp(function, "write_nowhere") == 0) SSL_write(ssl, (void *)8, 100);
        if (strcmp(function, "sendfile") == 0) SSL_sendfile(ssl, 0, 0, 0, 0);
        puts("done");
        fflush(stdout);
    }
    return 0;
}
